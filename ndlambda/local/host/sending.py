"""Sends a response as fast as the client reads it."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from ndlambda.errors import NDLambdaError, ServerBusyError
from ndlambda.local.host.answer import WsgiAnswer
from ndlambda.local.host.crowd import ClientPace, Crowd, write_in_thread
from ndlambda.local.host.spool import SpooledBody

PIECE_BYTES: Final = 1 << 18
"""What is handed to the transport at once, and at most held by it."""
_TURN_BYTES: Final = 1 << 22


class AnswerSender:
    """One response on its way; used in the thread of the loop.

    Pieces are views of what the application made: nothing is copied but what the socket does not
    take at once.

    Parameters
    ----------
    is_paused
        Whether the transport has enough for now.
    sent
        Called when all is with the transport.
    """

    def __init__(
        self,
        crowd: Crowd,
        transport: asyncio.Transport,
        answer: WsgiAnswer,
        sent: Callable[[], None],
    ) -> None:
        self._crowd = crowd
        self._transport = transport
        self._answer = answer
        self._sent = sent
        self._queue: deque[memoryview] = deque()
        self._pace = ClientPace(crowd)
        self._begun = crowd.now()
        self._given = 0
        self._is_away = self._is_filed = self._is_closed = False
        self.is_paused = False

    def begin(self, *, keep_alive: bool) -> None:
        """Send the head and what there is of the body."""
        head = self._answer.head(keep_alive=keep_alive)
        self._enqueue([head, *self._answer.take()])
        self.send()

    def send(self) -> None:
        """Send what the transport takes; then get more, or come to the end."""
        if self._is_closed or self._transport.is_closing():
            return
        end = self._given + _TURN_BYTES
        while self._queue and not self.is_paused:
            if self._given >= end:  # let others have their turn
                self._crowd.post(self.send)
                return
            piece = self._queue[0][:PIECE_BYTES]
            self._queue[0] = self._queue[0][PIECE_BYTES:]
            if not self._queue[0]:
                self._queue.popleft()
            self._given += len(piece)
            self._transport.write(piece)
        if not self._queue and not self._is_away:
            if self._answer.is_ended:
                self.close()
                self._sent()
            else:
                self._fetch()

    def is_stalled(self, now: float) -> bool:
        """Return whether the client reads too slowly."""
        read = self._given - self._transport.get_write_buffer_size()
        if not self._is_closed:
            self._file_if_slow(now - self._begun, read)
        return self._pace.is_stalled(now, read, waits=self._is_away)

    def close(self) -> None:
        """Release the response, as soon as no thread works on it."""
        self._is_closed = True
        self._queue.clear()
        if not self._is_away:
            self._answer.close()

    def _enqueue(self, pieces: list[bytes]) -> None:
        if sum(map(len, pieces)) <= PIECE_BYTES:
            pieces = [b"".join(pieces)]
        self._queue.extend(map(memoryview, filter(None, pieces)))

    def _fetch(self) -> None:
        def task() -> None:  # in a thread
            self._answer.fetch()
            self._crowd.post(self._fetched)

        self._is_away = True
        (self._crowd.lanes.files if self._is_filed else self._crowd.lanes.work).submit(task)

    def _fetched(self) -> None:
        self._is_away = False
        if self._is_closed:
            self._answer.close()
        elif self._answer.has_failed:
            self._transport.abort()
        else:
            self._enqueue(self._answer.take())
            self.send()

    def _file_if_slow(self, passed_s: float, read: int) -> None:
        """Move the rest of a response to a file, if reading it at this pace takes long.

        What it holds of the memory of all requests is released then.
        """
        limits, unread = self._crowd.limits, sum(map(len, self._queue))
        if self._is_filed or self._is_away or not self._answer.is_ended:
            return
        is_slow = passed_s > limits.slow_s and unread * passed_s > read * limits.slow_s
        if not is_slow or unread < limits.slow_bytes:
            return
        self._is_filed = True
        try:
            file = self._crowd.spool.open()
            file.reserve(unread)
        except ServerBusyError:  # it stays in memory
            return
        rest = list(self._queue)
        self._queue.clear()
        self._is_away = True
        write_in_thread(self._crowd, partial(file.write, rest), partial(self._filed, file, rest))

    def _filed(
        self, file: SpooledBody, rest: Iterable[memoryview], error: NDLambdaError | None
    ) -> None:
        self._is_away = False
        if error is None:
            self._answer.replace(file.chunks(), file.close)
        else:
            file.close()
            self._queue.extend(rest)
        if self._is_closed:
            self._answer.close()
        else:
            self.send()
