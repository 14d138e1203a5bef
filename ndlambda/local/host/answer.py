"""What the application answers to one request: head and pieces, made by worker threads."""

import logging
import secrets
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any, Final

from werkzeug.wrappers import Response

from ndlambda.errors import NDLambdaError
from ndlambda.web.problem import problem_response

_log = logging.getLogger("ndlambda.local")

_AHEAD_BYTES: Final = 1 << 20
_BODILESS: Final = frozenset({"204", "304"})


class WsgiAnswer:
    """A response that is made here and sent elsewhere.

    ``make`` and ``fetch`` run the application, so they belong into a worker thread; all else is
    quick. A response that is one piece in memory is at its end after two of them.

    Attributes
    ----------
    pieces
        What was made and not yet taken.
    is_ended
        Whether no more pieces will come.
    """

    def __init__(self, app: Any, environ: dict[str, Any]) -> None:
        self._app = app
        self._environ = environ
        self._status = ""
        self._headers: list[tuple[str, str]] = []
        self._source: Iterator[bytes] = iter(())
        self._close: Callable[[], None] | None = None
        self._is_chunked = False
        self.pieces: list[bytes] = []
        self.is_ended = False
        self.has_failed = False

    def make(self) -> None:
        """Run the application up to a megabyte of its response, or to its end."""
        try:
            result = self._app(self._environ, self._start)
            self._close = getattr(result, "close", None)
            self._source = iter(result)
        except Exception:  # noqa: BLE001 - an application that fails so has no answer of its own
            _log.exception("the application failed")
            self.has_failed = True
        else:
            self.fetch()

    def fetch(self) -> None:
        """Take more pieces from the application: a megabyte, and one more, which may be the end."""
        size = 0
        try:
            for piece in self._source:
                if piece:
                    self.pieces.append(piece)
                if size >= _AHEAD_BYTES:
                    break
                size += len(piece)
            else:
                self.is_ended = True
        except Exception:  # noqa: BLE001 - likewise
            _log.exception("the application failed in the middle of a response")
            self.has_failed = True

    def replace(self, source: Iterator[bytes], close: Callable[[], None]) -> None:
        """Take the rest from elsewhere; what the application holds is released."""
        self.close()
        self._source, self._close, self.is_ended = source, close, False

    def head(self, *, keep_alive: bool) -> bytes:
        """Return status line and headers."""
        names = {name.lower() for name, _ in self._headers}
        is_bodiless = self._status[:3] in _BODILESS or self._environ["REQUEST_METHOD"] == "HEAD"
        headers = [("Date", formatdate(usegmt=True)), *self._headers]
        if not is_bodiless and "content-length" not in names:
            if self._environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
                self._is_chunked = True
                headers.append(("Transfer-Encoding", "chunked"))
            else:
                keep_alive = False
        self.keeps_alive = keep_alive
        headers.append(("Connection", "keep-alive" if keep_alive else "close"))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"HTTP/1.1 {self._status}\r\n{lines}\r\n".encode("latin-1")

    def take(self) -> list[bytes]:
        """Return pieces as they are sent."""
        pieces, self.pieces = self.pieces, []
        if not self._is_chunked:
            return pieces
        framed = [part for piece in pieces for part in (b"%x\r\n" % len(piece), piece, b"\r\n")]
        return [*framed, b"0\r\n\r\n"] if self.is_ended else framed

    def close(self) -> None:
        """Release what the application holds for this response. It does so at once."""
        close, self._close = self._close, None
        self._source = iter(())  # which has the whole response
        self.pieces.clear()
        self._environ = {}
        if close is not None:
            close()

    def _start(
        self, status: str, headers: list[tuple[str, str]], _exc_info: object = None
    ) -> Callable[[bytes], object]:
        self._status, self._headers = status, headers
        return self.pieces.append


def refusal(error: NDLambdaError, method: str = "GET") -> WsgiAnswer:
    """Return the answer by which the server itself refuses a request."""
    request_id = secrets.token_hex(8)
    response: Response = problem_response(error, request_id)
    response.headers["X-Request-Id"] = request_id
    _log.info(
        "refused: %s",
        error.message,
        extra={"fields": {"request_id": request_id, "status": response.status_code}},
    )
    answer = WsgiAnswer(response, {"REQUEST_METHOD": method, "SERVER_PROTOCOL": "HTTP/1.1"})
    answer.make()
    return answer
