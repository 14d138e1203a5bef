"""The server that the command talks to, and the key it uses."""

from dataclasses import dataclass
from pathlib import Path

import click

from ndlambda.client import Client, RetryPolicy, Transport, connect
from ndlambda.errors import AuthenticationError


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The global options.

    Attributes
    ----------
    transport
        Replaces the network in tests; None uses the network.
    """

    url: str
    key: str | None
    data: Path | None
    transport: Transport | None = None

    def find_key(self) -> str | None:
        """Return ``--key``, else the admin key that ``serve`` wrote to the data folder, else None.

        Raises
        ------
        AuthenticationError
            The folder was given but has no readable key.
        """
        if self.key is not None or self.data is None:
            return self.key
        path = self.data / "admin.key"
        try:
            return path.read_text().strip()
        except OSError as error:
            raise AuthenticationError(
                f"No admin key can be read from {path} ({error.strerror}); was the server started "
                "with this folder?"
            ) from error

    def client(self, retry: RetryPolicy | None = None) -> Client:
        """Return a client; no request is sent yet."""
        return connect(self.url, self.find_key(), transport=self.transport, retry=retry)


pass_connection = click.make_pass_decorator(ServerOptions)
