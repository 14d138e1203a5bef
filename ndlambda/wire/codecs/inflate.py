"""Inflates zlib streams of known length, and no further than that length."""

from typing import Final, cast

import numpy as np
from isal import isal_zlib

from ndlambda.errors import MalformedBodyError

LEVEL: Final = 1
"""Deflate level of all output: igzip's level 1, about seven times as fast as zlib's."""

_WINDOW: Final = 1 << 18
"""Most input and output bytes per call of the inflater, which bounds the cost of a zip bomb."""

_DAMAGE: Final = cast(type[Exception], isal_zlib.error)  # the stub declares an instance


def deflate(*pieces: memoryview | bytes) -> bytes:
    """Return the zlib stream of the concatenated pieces."""
    compressor = isal_zlib.compressobj(LEVEL)
    parts = [compressor.compress(piece) for piece in pieces]
    parts.append(compressor.flush())
    return b"".join(parts)


class Inflater:
    """Reads one zlib stream and never produces more bytes than requested.

    Any zlib stream (RFC 1950) without a preset dictionary is read. Besides the caller's buffers it
    uses only two windows of 256 KiB.

    Parameters
    ----------
    body
        The whole stream, read in place.
    """

    __slots__ = ("_body", "_engine", "_pending", "_position")

    def __init__(self, body: bytes | memoryview) -> None:
        self._body = memoryview(body)
        self._engine = isal_zlib.decompressobj()
        self._pending: bytes | memoryview = b""
        self._position = 0

    def _some(self, limit: int) -> bytes:
        """Return 1 to `limit` bytes; empty at the end of the stream."""
        while not self._engine.eof:
            fed = self._position
            if not self._pending:
                self._pending = self._body[fed : fed + _WINDOW]
                self._position += len(self._pending)
            is_exhausted = not self._pending
            try:
                output: bytes = self._engine.decompress(self._pending, limit)
            except _DAMAGE as fault:
                message = f"The zlib stream is damaged: {fault}."
                raise MalformedBodyError(message) from fault
            self._pending = self._engine.unconsumed_tail
            if output:
                return output
            if is_exhausted:
                break
        return b""

    def read_into(self, target: memoryview) -> None:
        """Fill a writable byte buffer.

        Raises
        ------
        MalformedBodyError
            The stream is damaged, or ends before the buffer is full.
        """
        filled = 0
        while filled < len(target):
            output = self._some(min(_WINDOW, len(target) - filled))
            if not output:
                message = f"The zlib stream ends {len(target) - filled} bytes before its contents."
                raise MalformedBodyError(message)
            target[filled : filled + len(output)] = output
            filled += len(output)

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes; meant for headers.

        Raises
        ------
        MalformedBodyError
            The stream is damaged or ends too early.
        """
        buffer = bytearray(size)
        self.read_into(memoryview(buffer))
        return bytes(buffer)

    def finish(self) -> None:
        """Check that the stream ends here, with the right checksum and no bytes after it.

        Raises
        ------
        MalformedBodyError
            The stream holds unread data, its end is missing or damaged, or bytes follow it.
        """
        if self._some(1):
            message = "The zlib stream holds more than its contents should."
            raise MalformedBodyError(message)
        if not self._engine.eof:
            message = "The zlib stream is truncated."
            raise MalformedBodyError(message)
        if self._engine.unused_data or self._position < len(self._body):
            message = "Bytes follow the end of the zlib stream."
            raise MalformedBodyError(message)


def inflate_exactly(body: bytes | memoryview, size: int) -> memoryview:
    """Return the exactly `size` bytes of a zlib stream.

    Returns
    -------
    memoryview
        Newly allocated, owned by the caller.

    Raises
    ------
    MalformedBodyError
        The stream is damaged or truncated, holds more or fewer bytes, or is followed by others.
        At most `size` bytes and two windows are allocated.
    """
    # numpy's memory, because a bytearray would be zeroed first.
    target = np.empty(size, np.uint8).data
    inflater = Inflater(body)
    inflater.read_into(target)
    inflater.finish()
    return target
