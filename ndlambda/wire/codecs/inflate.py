"""Zlib streams of known length, inflated no further than that length."""

from typing import Final, cast

import numpy as np
from isal import isal_zlib

from ndlambda.errors import MalformedBodyError

LEVEL: Final = 1
"""Deflate level of everything written: igzip's level 1, about seven times as fast as zlib's."""

_WINDOW: Final = 1 << 18
"""Most bytes handed to the inflater at once, and most taken from it: what a bomb can cost."""

_DAMAGE: Final = cast(type[Exception], isal_zlib.error)  # the stub has it as an instance


def deflate(*pieces: memoryview | bytes) -> bytes:
    """Return the zlib stream of the pieces, one after another."""
    compressor = isal_zlib.compressobj(LEVEL)
    parts = [compressor.compress(piece) for piece in pieces]
    parts.append(compressor.flush())
    return b"".join(parts)


class Inflater:
    """A reader of one zlib stream that never makes more bytes than it is asked for.

    Any zlib stream (RFC 1950) without a preset dictionary is read. Two windows of 256 KiB are the
    only memory used beside what the caller provides.

    Parameters
    ----------
    body
        The whole stream; it is read in place.
    """

    __slots__ = ("_body", "_engine", "_pending", "_position")

    def __init__(self, body: bytes | memoryview) -> None:
        self._body = memoryview(body)
        self._engine = isal_zlib.decompressobj()
        self._pending: bytes | memoryview = b""
        self._position = 0

    def _some(self, limit: int) -> bytes:
        """Return 1 to `limit` bytes, or none at the end of the stream."""
        while not self._engine.eof:
            fed = self._position
            if not self._pending:
                self._pending = self._body[fed : fed + _WINDOW]
                self._position += len(self._pending)
            dry = not self._pending
            try:
                made: bytes = self._engine.decompress(self._pending, limit)
            except _DAMAGE as fault:
                message = f"The zlib stream is damaged: {fault}."
                raise MalformedBodyError(message) from fault
            self._pending = self._engine.unconsumed_tail
            if made:
                return made
            if dry:
                break
        return b""

    def read_into(self, target: memoryview) -> None:
        """Fill a writable buffer of bytes.

        Raises
        ------
        MalformedBodyError
            The stream is damaged, or ends before the buffer is full.
        """
        filled = 0
        while filled < len(target):
            made = self._some(min(_WINDOW, len(target) - filled))
            if not made:
                message = f"The zlib stream ends {len(target) - filled} bytes before its contents."
                raise MalformedBodyError(message)
            target[filled : filled + len(made)] = made
            filled += len(made)

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes; for headers.

        Raises
        ------
        MalformedBodyError
            The stream is damaged, or ends too early.
        """
        buffer = bytearray(size)
        self.read_into(memoryview(buffer))
        return bytes(buffer)

    def finish(self) -> None:
        """Check that the stream ends here, with the right checksum and nothing behind it.

        Raises
        ------
        MalformedBodyError
            There is more in the stream than was read, its end is missing or damaged, or bytes
            follow it.
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
    """Return the `size` bytes that a zlib stream must hold.

    Returns
    -------
    memoryview
        Of new memory that the caller owns.

    Raises
    ------
    MalformedBodyError
        The stream is damaged or truncated, holds more or fewer bytes, or is followed by others.
        No more than `size` bytes and two windows are ever made.
    """
    # Memory of numpy's, because bytearray would be filled with zeros first.
    target = np.empty(size, np.uint8).data
    inflater = Inflater(body)
    inflater.read_into(target)
    inflater.finish()
    return target
