"""The server that the command talks to, and the key it uses."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click

from ndlambda.client import Client, RetryPolicy, Transport, connect
from ndlambda.errors import AuthenticationError, InvalidArgumentError, UpstreamError
from ndlambda.local.published import find_address


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The global options.

    Attributes
    ----------
    url
        None if no server runs on ``data``, whose server was asked for.
    transport
        Replaces the network in tests; None uses the network.
    """

    url: str | None
    key: str | None
    data: Path | None
    transport: Transport | None = None

    def preferring(self, ranks: Mapping[str, int]) -> "ServerOptions":
        """Return the options in which ``--data`` wins over URL and key that are said less clearly.

        The admin key of a folder is sent to a server of that folder, or to a URL said as clearly.

        Parameters
        ----------
        ranks
            How clearly each option was said: 2 typed, 1 by the environment, 0 not at all.
        """
        if self.data is None:
            return self
        key = self.key if ranks["key"] >= ranks["data"] else None
        url = self.url if ranks["url"] >= ranks["data"] else find_address(self.data)
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
        """Return a client; no request is sent yet.

        Raises
        ------
        InvalidArgumentError
            The data folder does not exist.
        UpstreamError
            No server runs on it.
        AuthenticationError
            As ``find_key``.
        """
        if self.data is not None and not self.data.is_dir():
            raise InvalidArgumentError(f"There is no data folder {self.data}.")
        if self.url is None:
            raise UpstreamError(
                f"No server runs on {self.data}. Start one with `ndlambda serve --data "
                f"{self.data}`, or say which server by --url."
            )
        return connect(self.url, self.find_key(), transport=self.transport, retry=retry)


pass_connection = click.make_pass_decorator(ServerOptions)
