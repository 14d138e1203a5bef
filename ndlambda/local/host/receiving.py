"""Receives the body of a request, into memory or a file."""

import asyncio
import io
from collections.abc import Callable
from functools import partial
from typing import IO

from ndlambda.errors import NDLambdaError, PayloadTooLargeError
from ndlambda.local.host.chunks import ChunkParser
from ndlambda.local.host.crowd import ClientPace, Crowd, write_in_thread
from ndlambda.local.host.head import Head


class BodyReceiver:
    """The body of one request on its way; used in the thread of the loop, but for ``stream``.

    Parameters
    ----------
    max_bytes
        Its length may not exceed this.
    received
        Called when the whole body is there, or with the error that it was lost by.

    Raises
    ------
    ServerBusyError
        There is no room for it.
    """

    def __init__(
        self,
        crowd: Crowd,
        transport: asyncio.Transport,
        head: Head,
        max_bytes: int,
        received: Callable[[NDLambdaError | None], None],
    ) -> None:
        self._crowd = crowd
        self._transport = transport
        self._max_bytes = max_bytes
        self._received = received
        self._chunks = ChunkParser() if head.is_chunked else None
        self._rest = head.body_bytes
        self._body = crowd.spool.open(None if head.is_chunked else self._rest)
        self._pace = ClientPace(crowd)
        self._arrived = 0
        self._is_filing = self._is_closed = False

    @property
    def is_complete(self) -> bool:
        """Whether all of the body has arrived."""
        return self._rest == 0 if self._chunks is None else self._chunks.is_complete

    @property
    def is_followed(self) -> bool:
        """Whether a chunked body was followed at once by more, which is thrown away."""
        return self._chunks is not None and self._chunks.is_followed

    @property
    def size_bytes(self) -> int:
        """What has arrived."""
        return self._body.size_bytes

    def receive(self, data: bytes) -> bytes:
        """Take what arrived, and return what follows the body.

        Raises
        ------
        MalformedBodyError
            It is not properly chunked.
        PayloadTooLargeError
            It is too long.
        ServerBusyError
            There is no more room for it.
        """
        self._arrived += len(data)
        follows = b""
        if self._chunks is not None:
            piece = self._chunks.feed(data)
        else:
            piece = data if len(data) <= self._rest else data[: self._rest]
            follows = data[len(piece) :]
            self._rest -= len(piece)
        if self._body.size_bytes + len(piece) > self._max_bytes:
            raise PayloadTooLargeError(
                f"The body is over the limit of {self._max_bytes} bytes; send smaller boxes.",
                limit=self._max_bytes,
            )
        self._body.add(piece)
        self._store()
        return follows

    def is_stalled(self, now: float) -> bool:
        """Return whether the client sends too slowly."""
        return self._pace.is_stalled(now, self._arrived, waits=self._is_filing)

    def stream(self) -> IO[bytes]:
        """Return the whole body, from its start."""
        return self._body.stream()

    def close(self) -> None:
        """Release the body once no thread writes it."""
        self._is_closed = True
        if not self._is_filing:
            self._body.close()

    def _store(self) -> None:
        if self._is_filing:
            if self._body.is_due(at_end=False):
                self._transport.pause_reading()
        elif self._body.is_due(at_end=self.is_complete):
            self._is_filing = True
            write = partial(self._body.write, self._body.take_pieces())
            write_in_thread(self._crowd, write, self._stored)
        elif self.is_complete:
            self._received(None)

    def _stored(self, error: NDLambdaError | None) -> None:
        self._is_filing = False
        if self._is_closed:
            self._body.close()
        elif error is not None:
            self._received(error)
        else:
            if not self.is_complete:
                self._transport.resume_reading()
            self._store()


def stream_of(receiver: BodyReceiver | None) -> IO[bytes]:
    """Return a request's body, which is empty if none was received."""
    return io.BytesIO() if receiver is None else receiver.stream()
