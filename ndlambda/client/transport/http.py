"""The port between the client and the network: sends a request, returns an answer.

All other code uses a :class:`Transport`, so a test can pass a WSGI application, and a notebook a
transport that logs.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError as Urllib3Error
from urllib3.exceptions import NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

from ndlambda.errors import UpstreamError

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 300.0

_NO_HTTPS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
"""What OpenSSL says of an answer to its handshake that is none."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; ``url`` is complete, including the query."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Carries requests. Called from many threads at once."""

    def send(self, request: Request) -> Answer:
        """Send one request, once, without following redirects.

        Raises
        ------
        TimeoutError
            The server did not answer in time.
        ConnectionError
            The server could not be reached, or the connection broke before the answer ended.
        UpstreamError
            It cannot be talked to, however often that is tried.
        """
        ...


class PooledTransport:
    """Keeps connections open between requests, by urllib3.

    Connections belong to the process that opened them: a child made by ``fork`` opens its own. Two
    processes on one connection would read each other's answers.

    Parameters
    ----------
    connections
        Open connections per host; at least the number of transfer threads.
    """

    def __init__(self, connections: int = 16) -> None:
        self._connections = connections
        self._pools = {os.getpid(): self._open_pool()}

    def __reduce__(self) -> tuple[type["PooledTransport"], tuple[int]]:
        """Go to another process without the connections."""
        return PooledTransport, (self._connections,)

    def _open_pool(self) -> urllib3.PoolManager:
        return urllib3.PoolManager(
            maxsize=self._connections,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
        )

    @property
    def _pool(self) -> urllib3.PoolManager:
        """The connections of this process; those of parents stay open, and are theirs."""
        pool = self._pools.get(os.getpid())
        return self._pools.setdefault(os.getpid(), self._open_pool()) if pool is None else pool

    def send(self, request: Request) -> Answer:
        """Send one request, once; see :meth:`Transport.send`."""
        try:
            response = self._pool.request(
                request.method,
                request.url,
                body=request.body,
                headers=request.headers,
                retries=False,
                redirect=False,
                decode_content=False,
            )
            body = response.data
        except NewConnectionError as error:  # a subclass of urllib3's timeout
            raise ConnectionError(str(error)) from error
        except Urllib3Timeout as error:
            if "handshake" in str(error.__cause__):
                raise _no_https(request.url) from error
            raise TimeoutError(str(error)) from error
        except SSLError as error:
            if any(said in str(error) for said in _NO_HTTPS):
                raise _no_https(request.url) from error
            if "UNEXPECTED_EOF" in str(error):
                raise ConnectionError(str(error)) from error
            raise UpstreamError(
                f"{_root(request.url)} has no certificate that is trusted here ({error})."
            ) from error
        except Urllib3Error as error:
            raise ConnectionError(str(error)) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, body)

    def close(self) -> None:
        """Close idle connections; busy ones are closed after their request."""
        self._pool.clear()


def _no_https(url: str) -> UpstreamError:
    root = _root(url)
    plain = root.replace("https://", "http://", 1)
    return UpstreamError(f"{root} does not speak https; try {plain}.", url=root)


def _root(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
