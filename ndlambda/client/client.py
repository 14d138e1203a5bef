"""A connection to one server: volumes, annotations, catalogue, users."""

import re
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlsplit

from ndlambda.client.annotation.annotation import Annotations
from ndlambda.client.annotation.graph import SynapseGraphs
from ndlambda.client.annotation.skeleton import Skeletons
from ndlambda.client.catalog import Collection, Document, Users
from ndlambda.client.ingest import Ingests
from ndlambda.client.jobs import Jobs
from ndlambda.client.propagation import Propagation
from ndlambda.client.transport.http import PooledTransport, Transport
from ndlambda.client.transport.session import RetryPolicy, Session
from ndlambda.client.volume.volume import Volume, VoxelSource
from ndlambda.errors import AuthenticationError, InvalidArgumentError


class Client:
    """One server, accessed with one key. Safe to share between threads."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def url(self) -> str:
        """Root URL of the server."""
        return self._session.url

    @cached_property
    def server(self) -> Document:
        """The server's version and limits, and the user of the key; requested once.

        Raises
        ------
        AuthenticationError
            The key is unknown or revoked.
        """
        found: Document = self._session.json("GET", "/v1/server")
        return found

    def healthz(self) -> Document:
        """Check that the server is up; needs no key."""
        found: Document = self._session.json("GET", "/healthz")
        return found

    def info(self, token: str) -> Document:
        """Return the info document of a token: dataset, project and channels.

        Raises
        ------
        TokenNotFoundError, PermissionDeniedError
            The key opens no such token.
        """
        found: Document = self._session.json("GET", f"/v1/projects/{quote(token, safe='')}")
        return found

    def volume(self, token: str, channel: str, resolution: int = 0) -> Volume:
        """Open a channel for numpy indexing.

        Raises
        ------
        TokenNotFoundError, PermissionDeniedError
            The key opens no such token.
        ChannelNotFoundError, ResolutionNotFoundError
            The project has no such channel, or its dataset no such resolution.
        """
        limit: Any = self.server.get("limits", {}).get("body_bytes")
        source = VoxelSource(self._session, token, self.info(token), limit)
        return Volume(source, channel, resolution)

    def annotations(self, token: str, channel: str) -> Annotations:
        """Open an annotation channel for its objects. No request is sent yet."""
        return Annotations(self._session, token, channel)

    def skeletons(self, token: str, channel: str) -> Skeletons:
        """Open an annotation channel for its skeletons. No request is sent yet."""
        return Skeletons(self._session, token, channel)

    def graph(self, token: str, channel: str) -> SynapseGraphs:
        """Open an annotation channel for its synapse graphs. No request is sent yet."""
        return SynapseGraphs(self._session, token, channel)

    def propagation(self, token: str, channel: str) -> Propagation:
        """Open a channel to build its coarser resolutions. No request is sent yet."""
        return Propagation(self._session, token, channel)

    @property
    def ingest(self) -> Ingests:
        """Ingest jobs."""
        return Ingests(self._session)

    @property
    def jobs(self) -> Jobs:
        """Jobs of all kinds."""
        return Jobs(self._session)

    @property
    def users(self) -> Users:
        """Users and keys (superusers only)."""
        return Users(self._session)

    @property
    def datasets(self) -> Collection:
        """All datasets."""
        return Collection(self._session, ("datasets",))

    def projects(self, dataset: str) -> Collection:
        """Projects of a dataset."""
        return Collection(self._session, ("datasets", dataset, "projects"))

    def channels(self, dataset: str, project: str) -> Collection:
        """Channels of a project."""
        return Collection(self._session, ("datasets", dataset, "projects", project, "channels"))

    def tokens(self, dataset: str, project: str) -> Collection:
        """Tokens of a project."""
        return Collection(self._session, ("datasets", dataset, "projects", project, "tokens"))

    def list_tokens(self, limit: int | None = None) -> list[Document]:
        """Return tokens that the key may use, at most ``limit`` (None: all).

        Each has token_name, project, dataset, public.
        """
        return list(self._session.pages("/v1/tokens", "tokens", limit=limit))


def connect(
    url: str,
    key: str | None = None,
    *,
    transport: Transport | None = None,
    retry: RetryPolicy | None = None,
) -> Client:
    """Return a client of a server. No request is sent yet.

    Parameters
    ----------
    url
        Root URL of the server, for example ``http://127.0.0.1:8080``.
    key
        API key; None is anonymous and sees public data only.
    transport
        Carries the requests; by default pooled connections.
    retry
        How to retry when the server is busy or unreachable.

    Raises
    ------
    InvalidArgumentError
        The URL is not an http or https URL.
    AuthenticationError
        The key has characters that no key has.

    Examples
    --------
    >>> client = connect("http://127.0.0.1:8080", key="...")
    >>> volume = client.volume("demo", "em")  # doctest: +SKIP
    """
    if not _is_server(url):
        raise InvalidArgumentError(
            f"{url!r} is not a URL of a server; write it like http://127.0.0.1:8080.", url=url
        )
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise AuthenticationError("The key has spaces or characters that no key has.")
    return Client(Session(url, key, transport or PooledTransport(), retry))


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is no number
        return False
