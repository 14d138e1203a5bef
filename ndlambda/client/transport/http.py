"""The port between the client and the network: sends a request, returns an answer.

All other code uses a :class:`Transport`, so a test can pass a WSGI application, and a notebook a
transport that logs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import urllib3
from urllib3.exceptions import HTTPError as Urllib3Error
from urllib3.exceptions import NewConnectionError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 300.0


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
        """
        ...


class PooledTransport:
    """Keeps connections open between requests, by urllib3.

    Parameters
    ----------
    connections
        Open connections per host; at least the number of transfer threads.
    """

    def __init__(self, connections: int = 16) -> None:
        self._pool = urllib3.PoolManager(
            maxsize=connections,
            timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
        )

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
            raise TimeoutError(str(error)) from error
        except Urllib3Error as error:
            raise ConnectionError(str(error)) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, body)

    def close(self) -> None:
        """Close idle connections; busy ones are closed after their request."""
        self._pool.clear()
