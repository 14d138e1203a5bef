"""One server, one key: requests with retries, redirects and errors of our tree."""

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode, urljoin, urlsplit

from ndlambda import __version__
from ndlambda.backoff import longest_pause_s, pause_s
from ndlambda.client.transport.http import Answer, Request, Transport
from ndlambda.client.transport.problems import error_of
from ndlambda.errors import PermissionDeniedError, UpstreamError, UpstreamTimeoutError

_NOT_STARTED: Final = frozenset({429, 503})
_MAYBE_DONE: Final = frozenset({502, 504})
_BROKEN: Final = 500
_BROKEN_ATTEMPTS: Final = 3
"""500 is what API Gateway says of a worker that died, and a server of a fault that stays."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 5


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to wait; the clock and the dice are handed in by tests.

    A wait is a random part of ``base_s * 2**attempt``, at most ``cap_s`` ("full jitter": many
    clients that met one overload do not come back together). A server's ``Retry-After`` is a
    lower bound of the wait, itself cut at ``patience_s``.

    Attributes
    ----------
    told
        Called with the reason before each wait for a server that is away or fails.
    """

    attempts: int = 6
    base_s: float = 0.2
    cap_s: float = 20.0
    patience_s: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    dice: Callable[[], float] = field(default=random.SystemRandom().random)
    told: Callable[[str], None] = lambda _: None

    @property
    def longest_s(self) -> float:
        """The most that all waits together take, if no server asks for more."""
        waits = range(self.attempts - 1)
        return sum(longest_pause_s(attempt, self.base_s, self.cap_s) for attempt in waits)

    def wait(self, attempt: int, retry_after: str | None) -> None:
        """Wait before the attempt after number ``attempt`` (the first is 0)."""
        jittered = pause_s(attempt, self.base_s, self.cap_s, self.dice)
        asked = float(retry_after) if retry_after is not None and retry_after.isdigit() else 0.0
        self.sleep(jittered + min(asked, self.patience_s))


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


class Session:
    """Sends requests to one server with one key. Safe to share between threads.

    Parameters
    ----------
    url
        Root of the server, with or without a final slash.
    key
        API key; None is anonymous.
    transport
        Carries the requests.
    """

    def __init__(
        self, url: str, key: str | None, transport: Transport, retry: RetryPolicy | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._transport = transport
        self._retry = retry or RetryPolicy()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> Answer:
        """Send a request and return the successful answer.

        Parameters
        ----------
        path
            Path under the server's root, starting with ``/``.
        headers
            Beside our own; a body is ``application/octet-stream`` unless they say otherwise.
        repeatable
            Whether doing it twice does no harm. If so it is sent again after a broken connection
            or a gateway's error, and twice after a server's; a request that the server refused to
            start (429, 503) always is.

        Raises
        ------
        NDLambdaError
            The class that the server's problem document names.
        UpstreamTimeoutError, UpstreamError
            The server could not be reached.
        """
        url = self.url + path + (f"?{urlencode(query, safe=':,')}" if query else "")
        sent = {"User-Agent": f"ndlambda-client/{__version__}"}
        if self._key is not None:
            sent["Authorization"] = f"Token {self._key}"
        if body is not None:
            sent["Content-Type"] = "application/octet-stream"
        request = Request(method, url, sent | dict(headers or {}), body)
        answer = self._follow(request, self._persist(request, repeatable=repeatable))
        if answer.status >= 300:
            raise error_of(answer)
        return answer

    def json(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> Any:
        """Send a JSON document (or nothing) and return the decoded answer, None if it is empty.

        Raises
        ------
        NDLambdaError
            As :meth:`request`; ``UpstreamError`` also where the answer is not JSON.
        """
        body = None if document is None else json.dumps(document).encode()
        answer = self.request(
            method,
            path,
            query=query,
            body=body,
            headers={"Content-Type": "application/json", **(headers or {})},
            repeatable=repeatable,
        )
        if not answer.body:
            return None
        try:
            return json.loads(answer.body)
        except ValueError as error:
            raise UpstreamError(
                f"{self.url} did not answer JSON; is it an ndlambda server?"
            ) from error

    def put(self, url: str, body: bytes, *, with_key: bool) -> None:
        """Send a body to a URL that the server gave, relative to its root or of another server.

        Parameters
        ----------
        with_key
            Whether our key goes with it. A presigned URL brings its own rights.

        Raises
        ------
        PermissionDeniedError
            The URL has expired.
        NDLambdaError
            As :meth:`request`.
        """
        sent = {"User-Agent": f"ndlambda-client/{__version__}"}
        whole = urljoin(f"{self.url}/", url)
        if with_key and self._key is not None and _origin(whole) == _origin(self.url):
            sent["Authorization"] = f"Token {self._key}"
        answer = self._persist(Request("PUT", whole, sent, body), repeatable=True)
        if answer.status == 400 and b"<Code>ExpiredToken</Code>" in answer.body:
            # S3 says 403 of a URL that has expired, but this of the role that signed it.
            raise PermissionDeniedError("The address has expired; ask for another.")
        if answer.status >= 300:
            raise error_of(answer)

    def _persist(self, request: Request, *, repeatable: bool) -> Answer:
        again = _NOT_STARTED | _MAYBE_DONE if repeatable else _NOT_STARTED
        for attempt in range(self._retry.attempts):
            last = attempt == self._retry.attempts - 1
            try:
                answer = self._transport.send(request)
            except (TimeoutError, ConnectionError) as error:
                if last or not repeatable:
                    raise self._unreachable(error) from error
                self._retry.told(str(error))
                self._retry.wait(attempt, None)
                continue
            if request.method == "DELETE" and answer.status == 404 and attempt > 0:
                return Answer(204, {}, b"")  # an earlier attempt did it, only its answer was lost
            is_broken = answer.status == _BROKEN and repeatable
            if answer.status not in again and not (is_broken and attempt + 1 < _BROKEN_ATTEMPTS):
                return answer
            if last:
                return answer
            if answer.status >= 500:
                self._retry.told(f"it answers {answer.status}")
            self._retry.wait(attempt, answer.headers.get("retry-after"))
        raise AssertionError("a retry policy has at least one attempt")

    def _follow(self, request: Request, answer: Answer) -> Answer:
        for _ in range(_MAX_REDIRECTS):
            target = answer.headers.get("location")
            safe = request.method in {"GET", "HEAD"}
            if answer.status not in _REDIRECTS or target is None or not safe:
                break
            url = urljoin(request.url, target)
            headers = dict(request.headers)
            if _origin(url) != _origin(request.url):
                # A presigned URL brings its own rights; our key is nobody else's business.
                headers.pop("Authorization", None)
            request = Request(request.method, url, headers)
            answer = self._persist(request, repeatable=True)
        return answer

    def _unreachable(self, error: OSError) -> UpstreamError:
        kind = UpstreamTimeoutError if isinstance(error, TimeoutError) else UpstreamError
        return kind(
            f"No answer from {self.url} ({error}); check the URL and that the server runs.",
            url=self.url,
        )
