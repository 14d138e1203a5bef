"""The server that the command talks to, and the key it uses."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import click

from ndlambda.client import Client, RetryPolicy, Transport, connect
from ndlambda.errors import AuthenticationError
from ndlambda.settings import ADDRESS_FILE


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

    def preferring(self, said: Collection[str]) -> "ServerOptions":
        """Return the options in which ``--data`` wins over URL and key of the environment.

        Parameters
        ----------
        said
            Names of the options that were typed.
        """
        if self.data is None or "data" not in said:
            return self
        key = self.key if "key" in said else None
        address = self.data / ADDRESS_FILE
        url = self.url
        if "url" not in said and address.is_file():
            url = address.read_text().strip() or url
        return replace(self, url=url, key=key)

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
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", "it is not text")
            raise AuthenticationError(
                f"No admin key can be read from {path} ({reason}); was the server started "
                "with this folder?"
            ) from error

    def client(self, retry: RetryPolicy | None = None) -> Client:
        """Return a client; no request is sent yet."""
        return connect(self.url, self.find_key(), transport=self.transport, retry=retry)


pass_connection = click.make_pass_decorator(ServerOptions)
