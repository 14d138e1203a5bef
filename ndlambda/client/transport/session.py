"""Requests to one server with one key: retries, redirects, and errors as exceptions."""

import json
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import InitVar, dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote, urlencode, urljoin, urlsplit

from ndlambda import __version__
from ndlambda.backoff import longest_pause_s, pause_s
from ndlambda.client.transport.http import Answer, Request, Transport
from ndlambda.client.transport.problems import error_of
from ndlambda.errors import PermissionDeniedError, UpstreamError, UpstreamTimeoutError

_NOT_PROCESSED: Final = frozenset({429, 503})
_MAYBE_PROCESSED: Final = frozenset({502, 504})
_SERVER_ERROR: Final = 500
_SERVER_ERROR_ATTEMPTS: Final = 3
"""API Gateway answers 500 for a worker that died, but a server also for a permanent fault."""
REQUEST_ID_PREFIX: Final = "client-"
"""Tells ids of requests that clients chose, and a server returns, from ids that servers choose."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS: Final = 5
_PAGE: Final = 1000
"""Entries of a list in one answer; the most that servers allow."""


def _draw() -> float:
    # Of the system: children of one process must not draw the same pauses.
    return random.SystemRandom().random()


def _ignore(reason: str) -> None:
    """Say nothing of a retry."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to retry, and how long to wait; tests inject clock and randomness.

    A wait is a random part of ``base_s * 2**attempt``, at most ``cap_s`` ("full jitter": clients
    that met one overload do not retry at the same moment). A server's ``Retry-After``, at most
    ``max_retry_after_s`` of it, is added.

    Attributes
    ----------
    random
        Returns a float from 0 to 1.
    on_retry
        Called with the reason before each wait for a server that is unreachable or fails.
    patience_s, dice, told
        Former names of ``max_retry_after_s``, ``random`` and ``on_retry``; still accepted as
        arguments.
    """

    attempts: int = 6
    base_s: float = 0.2
    cap_s: float = 20.0
    max_retry_after_s: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = field(default=_draw)
    on_retry: Callable[[str], None] = _ignore
    patience_s: InitVar[float | None] = None
    dice: InitVar[Callable[[], float] | None] = None
    told: InitVar[Callable[[str], None] | None] = None

    def __post_init__(
        self,
        patience_s: float | None,
        dice: Callable[[], float] | None,
        told: Callable[[str], None] | None,
    ) -> None:
        former = {"max_retry_after_s": patience_s, "random": dice, "on_retry": told}
        for name, value in former.items():
            if value is not None:
                object.__setattr__(self, name, value)

    @property
    def longest_s(self) -> float:
        """The longest total wait, if no server asks for more."""
        waits = range(self.attempts - 1)
        return sum(longest_pause_s(attempt, self.base_s, self.cap_s) for attempt in waits)

    def wait(self, attempt: int, retry_after: str | None) -> None:
        """Wait before the retry of attempt number ``attempt`` (the first is 0)."""
        jittered = pause_s(attempt, self.base_s, self.cap_s, self.random)
        delay_s = float(retry_after) if retry_after is not None and retry_after.isdigit() else 0.0
        self.sleep(jittered + min(delay_s, self.max_retry_after_s))


def channel_path(token: str, channel: str) -> str:
    """Return the path of a channel, which starts the paths of everything in it."""
    return f"/v1/projects/{quote(token, safe='')}/channels/{quote(channel, safe='')}"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


class Session:
    """Sends requests to one server with one key. Safe to share between threads.

    Parameters
    ----------
    url
        Root URL of the server, with or without a final slash.
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
            Besides the session's own; a body is ``application/octet-stream`` by default.
        repeatable
            Whether the request is idempotent. If so it is retried after a broken connection or a
            gateway's error, and at most twice after a server error; a request that the server did
            not process (429, 503) is always retried.

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
        answer = self._follow(request, self._send_with_retries(request, repeatable=repeatable))
        if answer.status >= 300:
            raise error_of(answer)
        return answer

    def pages(
        self,
        path: str,
        name: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Any]:
        """Iterate over the entries of a list, which the server answers page by page.

        Parameters
        ----------
        path, query, headers
            The request.
        name
            Of the entries in an answer.
        limit
            Most entries; None: all.

        Raises
        ------
        NDLambdaError
            As :meth:`json`.
        """
        asked = dict(query or {})
        left = limit
        while left is None or left > 0:
            if left is not None:
                asked["limit"] = str(min(left, _PAGE))
            page = self.json("GET", path, query=asked, headers=headers)
            yield from page[name]
            if page.get("next") is None:
                return
            asked["after"] = str(page["next"])
            left = None if left is None else left - len(page[name])

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
        """Send a JSON document (or none) and return the decoded answer, None if it is empty.

        Raises
        ------
        NDLambdaError
            As :meth:`request`; ``UpstreamError`` also if the answer is not JSON.
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
        """Send a body to a URL from the server, relative to its root or on another host.

        Parameters
        ----------
        with_key
            Whether to send the session's key. A presigned URL carries its own credentials.

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
        answer = self._send_with_retries(Request("PUT", whole, sent, body), repeatable=True)
        if answer.status == 400 and b"<Code>ExpiredToken</Code>" in answer.body:
            # S3 answers 403 for an expired URL, but this for expired credentials of its signer.
            raise PermissionDeniedError("The address has expired; ask for another.")
        if answer.status >= 300:
            raise error_of(answer)

    def _send_with_retries(self, request: Request, *, repeatable: bool) -> Answer:
        retried = _NOT_PROCESSED | _MAYBE_PROCESSED if repeatable else _NOT_PROCESSED
        for attempt in range(self._retry.attempts):
            last = attempt == self._retry.attempts - 1
            try:
                answer = self._exchange(request)
            except (TimeoutError, ConnectionError) as error:
                if last or not repeatable:
                    raise self._unreachable(error) from error
                self._retry.on_retry(str(error))
                self._retry.wait(attempt, None)
                continue
            if request.method == "DELETE" and answer.status == 404 and attempt > 0:
                return Answer(204, {}, b"")  # an earlier attempt deleted it, its answer was lost
            is_fault = answer.status == _SERVER_ERROR and repeatable
            may_retry = is_fault and attempt + 1 < _SERVER_ERROR_ATTEMPTS
            if answer.status not in retried and not may_retry:
                return answer
            if last:
                return answer
            if answer.status >= 500:
                self._retry.on_retry(f"it answers {answer.status}")
            self._retry.wait(attempt, answer.headers.get("retry-after"))
        raise AssertionError("a retry policy has at least one attempt")

    def _exchange(self, request: Request) -> Answer:
        """Send a request under an id of its own, and return the answer if it is to this request.

        Raises
        ------
        TimeoutError
            As :meth:`Transport.send`.
        ConnectionError
            As there; also if the answer is to another request. The connection is out of step then.
        """
        if _origin(request.url) != _origin(self.url):
            return self._transport.send(request)
        request_id = REQUEST_ID_PREFIX + secrets.token_hex(8)
        headers = {**request.headers, "X-Request-Id": request_id}
        answer = self._transport.send(replace(request, headers=headers))
        answered = answer.headers.get("x-request-id", "")
        # Ids without the prefix are those of servers and proxies that use none but their own.
        if answered.startswith(REQUEST_ID_PREFIX) and answered != request_id:
            raise ConnectionError("the answer to another request was received")
        return answer

    def _follow(self, request: Request, answer: Answer) -> Answer:
        for _ in range(_MAX_REDIRECTS):
            target = answer.headers.get("location")
            safe = request.method in {"GET", "HEAD"}
            if answer.status not in _REDIRECTS or target is None or not safe:
                break
            url = urljoin(request.url, target)
            headers = dict(request.headers)
            if _origin(url) != _origin(request.url):
                # A presigned URL carries its own credentials; the key must not reach other hosts.
                headers.pop("Authorization", None)
            request = Request(request.method, url, headers)
            answer = self._send_with_retries(request, repeatable=True)
        return answer

    def _unreachable(self, error: OSError) -> UpstreamError:
        kind = UpstreamTimeoutError if isinstance(error, TimeoutError) else UpstreamError
        return kind(
            f"No answer from {self.url} ({error}); check the URL and that the server runs.",
            url=self.url,
        )
