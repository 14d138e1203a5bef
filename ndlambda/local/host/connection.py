"""One connection of a client: requests are received, judged, answered, one after another."""

import asyncio
import re
from enum import Enum, auto
from functools import partial
from typing import Any, Final, cast

from ndlambda.errors import (
    DeadlineExceededError,
    HeaderTooLargeError,
    NDLambdaError,
    RequestTimeoutError,
    ServerBusyError,
    StoreUnavailableError,
)
from ndlambda.local.host.answer import WsgiAnswer, refusal
from ndlambda.local.host.crowd import Crowd, Runs, head_s
from ndlambda.local.host.head import Head
from ndlambda.local.host.receiving import BodyReceiver, stream_of
from ndlambda.local.host.sending import PIECE_BYTES, AnswerSender
from ndlambda.local.host.spool import SMALL_BYTES

_END: Final = b"\r\n\r\n"
_BLANK: Final = re.compile(rb"[\r\n]+")
_HELD_BYTES: Final = 1 << 18
_GRACE_S: Final = 0.2
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_HEALTH: Final = b"/healthz"


class _Phase(Enum):
    HEAD = auto()
    JUDGED = auto()
    BODY = auto()
    MADE = auto()
    SENT = auto()
    LINGER = auto()
    CLOSED = auto()


class HttpConnection(asyncio.Protocol):
    """Receives and sends; its methods run in the thread of the loop, where nothing waits.

    A request goes through the phases in order: its head is received and judged, its body received,
    its answer made by a worker, and sent. Nothing of a body that is refused is kept, and no thread
    waits for a client.
    """

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._phase = _Phase.HEAD
        self._buffer = bytearray()
        self._receiver: BodyReceiver | None = None
        self._environ: dict[str, Any] = {}
        self._making: WsgiAnswer | None = None
        self._sender: AnswerSender | None = None
        self._is_paused = self._is_eof = self._is_unread = self._is_making = False
        self._lingered = 0
        self._deadline = float("inf")
        self._is_health = False

    # what the loop reports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=PIECE_BYTES)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._crowd.joined(self)
        self._expect_head()

    def connection_lost(self, _error: Exception | None) -> None:
        """Release all that the connection holds, but what a thread is still using."""
        self._phase = _Phase.CLOSED
        self._crowd.left(self)
        if self._sender is not None:
            self._sender.close()
        self._drop_body()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self._phase is _Phase.BODY and not self._buffer:
            self._receive(data)
        elif self._phase is _Phase.LINGER:
            self._lingered += len(data)
            if self._lingered > self._crowd.limits.max_linger_bytes:
                self._transport.abort()
        else:
            self._buffer += data
            if self._phase is _Phase.HEAD:
                self._read_head()
            elif len(self._buffer) > _HELD_BYTES:
                self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Note that the client sends no more, and return whether it still gets an answer."""
        self._is_eof = True
        is_asked = self._receiver is not None and self._receiver.is_complete
        return is_asked or self._phase in {_Phase.JUDGED, _Phase.MADE, _Phase.SENT}

    def pause_writing(self) -> None:
        """Send no more until the client has read."""
        self._set_paused(is_paused=True)

    def resume_writing(self) -> None:
        """Send on."""
        self._set_paused(is_paused=False)
        if self._sender is not None:
            self._sender.send()

    def _set_paused(self, *, is_paused: bool) -> None:
        self._is_paused = is_paused
        if self._sender is not None:
            self._sender.is_paused = is_paused

    # what the server asks for

    def check(self, now: float) -> None:
        """Compare with the deadlines; called a few times a second."""
        match self._phase:
            case _Phase.HEAD:
                self._check_head(now)
            case _Phase.BODY if self._receiver is not None and self._receiver.is_stalled(now):
                self._refuse(RequestTimeoutError("The body comes too slowly."))
            case _Phase.JUDGED | _Phase.MADE if now > self._deadline:
                self._refuse(
                    StoreUnavailableError("The stores do not answer.")
                    if self._is_health
                    else DeadlineExceededError()
                )
            case _Phase.SENT if self._sender is not None and self._sender.is_stalled(now):
                self._transport.abort()
            case _Phase.LINGER if now > self._deadline:
                self._transport.abort()

    def give_way(self) -> None:
        """Close at once, in favour of another connection or of the server's end."""
        self._transport.abort()

    def _check_head(self, now: float) -> None:
        silent_s = now - self._since
        if self._buffer:
            if silent_s > head_s(self._crowd):
                self._refuse(RequestTimeoutError("The headers did not come in time."))
        elif silent_s > self._crowd.limits.idle_s:
            self._transport.abort()
        elif self._crowd.is_draining and silent_s > _GRACE_S and not self._is_read_from():
            self._transport.close()

    def _is_read_from(self) -> bool:
        return self._transport.get_write_buffer_size() > 0

    # the head

    def _expect_head(self) -> None:
        self._phase = _Phase.HEAD
        self._sender = self._making = None
        self._environ = {}
        self._head = Head()
        self._fed = 0
        self._since = self._crowd.now()
        self._crowd.set_waiting(self, is_waiting=True)
        self._read_on()
        if self._buffer:
            self._read_head()
        if self._is_eof and self._phase is _Phase.HEAD:
            self._transport.close()

    def _read_on(self) -> None:
        if len(self._buffer) <= _HELD_BYTES:
            self._transport.resume_reading()

    def _read_head(self) -> None:
        if not self._fed:
            blank = _BLANK.match(self._buffer)
            del self._buffer[: blank.end() if blank else 0]
            if not self._buffer:
                return
            self._since = self._crowd.now()
        found = self._buffer.find(_END, max(0, self._fed - len(_END) + 1))
        end = len(self._buffer) if found < 0 else found + len(_END)
        limit = self._crowd.limits.max_head_bytes
        try:
            self._head.feed(bytes(self._buffer[self._fed : min(end, limit)]))
            if end > limit:
                raise HeaderTooLargeError(
                    f"The request line and headers are over {limit} bytes.", limit=limit
                )
            self._fed = end
            if found >= 0:
                request_line = bytes(self._buffer[: self._buffer.find(_END[:2])])
                del self._buffer[:end]
                self._head.check(request_line)
                self._begin()
        except NDLambdaError as error:
            self._refuse(error)

    def _begin(self) -> None:
        head, crowd = self._head, self._crowd
        crowd.set_waiting(self, is_waiting=False)
        is_health = head.path.rstrip(b"/") == _HEALTH and head.method in {"GET", "HEAD"}
        if crowd.is_full and not is_health:
            raise ServerBusyError("The server has too many connections; ask again later.")
        self._is_health = is_health
        self._deadline = crowd.now() + crowd.limits.answer_s(is_health=is_health)
        self._environ = head.environ(crowd.address, self._peer)
        self._is_unread = head.is_chunked or head.body_bytes > 0
        if not self._is_unread:
            self._make(crowd.lanes.health if is_health else crowd.lanes.work)
        elif not head.is_chunked and head.body_bytes <= min(SMALL_BYTES, len(self._buffer)):
            self._open_body(head.body_bytes)  # it is here: the application refuses it as quickly
        else:
            self._phase = _Phase.JUDGED
            crowd.lanes.judge.submit(partial(self._judge, self._environ))

    def _judge(self, environ: dict[str, Any]) -> None:  # in a thread
        verdict = self._crowd.app.judge(environ)
        if not isinstance(verdict, int):
            verdict = WsgiAnswer(verdict, environ)
            verdict.make()
        self._crowd.post(partial(self._judged, verdict))

    def _judged(self, verdict: WsgiAnswer | int) -> None:
        if isinstance(verdict, int):
            if self._phase is _Phase.JUDGED:
                self._open_body(verdict)
        elif self._phase is _Phase.JUDGED and not verdict.has_failed:
            self._begin_answer(verdict)
        else:
            verdict.close()
            if self._phase is _Phase.JUDGED:
                self._refuse(_failure())

    # the body

    def _open_body(self, max_bytes: int) -> None:
        try:
            self._receiver = BodyReceiver(
                self._crowd, self._transport, self._head, max_bytes, self._received
            )
        except NDLambdaError as error:
            self._refuse(error)
            return
        self._phase = _Phase.BODY
        if self._head.expects_continue and not self._buffer:
            self._transport.write(_CONTINUE)
        here = bytes(self._buffer)
        self._buffer.clear()
        self._read_on()
        if here:
            self._receive(here)
        if self._phase is _Phase.BODY and self._is_eof and not self._receiver.is_complete:
            self._transport.close()  # the rest of it will never come

    def _receive(self, data: bytes) -> None:
        assert self._receiver is not None
        try:
            self._buffer += self._receiver.receive(data)
        except NDLambdaError as error:
            self._refuse(error)

    def _received(self, error: NDLambdaError | None) -> None:
        assert self._receiver is not None
        if error is not None:
            self._refuse(error)
            return
        self._is_unread = False
        self._read_on()
        self._deadline = self._crowd.now() + self._crowd.limits.answer_s()
        self._environ["CONTENT_LENGTH"] = str(self._receiver.size_bytes)
        self._environ.pop("HTTP_TRANSFER_ENCODING", None)
        self._make(self._crowd.lanes.work)

    def _drop_body(self) -> None:
        if self._receiver is not None and not self._is_making:
            self._receiver.close()
            self._receiver = None

    # the answer

    def _make(self, lane: Runs) -> None:
        self._phase, self._is_making = _Phase.MADE, True
        answer = self._making = WsgiAnswer(self._crowd.app, self._environ)

        def task() -> None:  # in a thread
            if self._phase is _Phase.MADE:  # the client has not left meanwhile
                self._environ["wsgi.input"] = stream_of(self._receiver)
                answer.make()
            self._crowd.post(partial(self._made, answer))

        lane.submit(task)

    def _made(self, answer: WsgiAnswer) -> None:
        self._is_making = False
        if self._phase is _Phase.MADE and self._making is answer and not answer.has_failed:
            self._begin_answer(answer)
            return
        answer.close()
        self._drop_body()
        if self._phase is _Phase.MADE and self._making is answer:
            self._refuse(_failure())

    def _refuse(self, error: NDLambdaError) -> None:
        self._crowd.set_waiting(self, is_waiting=False)
        self._is_unread = True
        self._buffer.clear()
        self._drop_body()
        self._begin_answer(refusal(error, self._head.method))

    def _begin_answer(self, answer: WsgiAnswer) -> None:
        self._phase = _Phase.SENT
        self._sender = AnswerSender(
            self._crowd, self._transport, answer, partial(self._sent, answer)
        )
        self._sender.is_paused = self._is_paused
        is_followed = self._receiver is not None and self._receiver.is_followed
        is_end = self._is_eof and not self._buffer
        is_last = self._is_unread or is_end or self._crowd.is_draining or is_followed
        self._sender.begin(keep_alive=not is_last and self._head.keeps_alive)

    def _sent(self, answer: WsgiAnswer) -> None:
        self._drop_body()
        if answer.keeps_alive:
            self._expect_head()
        elif self._is_unread and not self._is_eof:
            self._linger()
        else:
            self._transport.close()

    def _linger(self) -> None:
        self._phase = _Phase.LINGER
        self._buffer.clear()
        self._crowd.set_waiting(self, is_waiting=True, lingers=True)
        self._deadline = self._crowd.now() + self._crowd.limits.linger_s
        try:
            self._transport.write_eof()
        except OSError:  # the client has reset the connection
            self._transport.abort()
            return
        self._transport.resume_reading()


def _failure() -> NDLambdaError:
    return NDLambdaError("The server failed; its log has the reason.")
