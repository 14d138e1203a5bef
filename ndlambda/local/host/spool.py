"""Bodies that are on their way: in memory while they are small, else in files without a name."""

import io
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

from ndlambda.errors import NDLambdaError, ServerBusyError, StoreFullError, UpstreamError
from ndlambda.stores.limits import is_full

SMALL_BYTES: Final = 1 << 23
"""Longest body that stays in memory."""
_PIECE_BYTES: Final = 1 << 20
_DUE_BYTES: Final = 1 << 21


class Spool:
    """Makes bodies, and bounds what all of them take.

    Parameters
    ----------
    folder
        Where files are made; they have no name, so nothing is left of them after a crash.
    max_bytes
        Bytes of all files together.
    max_memory_bytes
        Bytes of all bodies in memory together; further small ones are files, too.
    """

    def __init__(self, folder: Path, max_bytes: int, max_memory_bytes: int = 1 << 26) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_memory_bytes = max_memory_bytes
        self._lock = threading.Lock()
        self._bytes = self._memory_bytes = 0

    def open(self, size_bytes: int | None = None) -> "SpooledBody":
        """Return an empty body.

        Parameters
        ----------
        size_bytes
            Its length, if that is known. There must be room for it now, which is taken as it
            arrives: who only promises a body takes no room from others.

        Raises
        ------
        ServerBusyError
            All bodies together would take too much.
        """
        body = SpooledBody(self, self._folder, size_bytes)
        if size_bytes is not None and not (size_bytes <= SMALL_BYTES and self.take_memory(0)):
            body.reserve(size_bytes)
            body.reserve(0)
        return body

    def take(self, size_bytes: int) -> None:
        """Reserve room in files; raises as ``open``."""
        with self._lock:
            if self._bytes + size_bytes > self._max_bytes:
                raise ServerBusyError(
                    "The server receives too many large bodies at once; send this one later."
                )
            self._bytes += size_bytes

    def take_memory(self, size_bytes: int) -> bool:
        """Reserve memory, and return whether there was any."""
        with self._lock:
            if self._memory_bytes + size_bytes >= self._max_memory_bytes:
                return False
            self._memory_bytes += size_bytes
            return True

    def give_back(self, size_bytes: int, memory_bytes: int) -> None:
        """Return what was reserved."""
        with self._lock:
            self._bytes -= size_bytes
            self._memory_bytes -= memory_bytes


class SpooledBody:
    """A body that grows piece by piece, and is then read once.

    The thread that adds pieces does not write them: where ``is_due``, another one calls ``write``
    with what ``take_pieces`` returned.
    """

    def __init__(self, spool: Spool, folder: Path, length: int | None) -> None:
        self._spool = spool
        self._folder = folder
        self._length = length
        self._pieces: list[bytes] = []
        self._pending_bytes = self._memory_bytes = self._reserved_bytes = 0
        self._file: IO[bytes] | None = None
        self._is_file = False
        self.size_bytes = 0

    def reserve(self, size_bytes: int) -> None:
        """Make this a file, of so many bytes at least; raises as ``Spool.open``."""
        self._spool.take(size_bytes - self._reserved_bytes)
        self._reserved_bytes = size_bytes
        self._is_file = True

    def add(self, piece: bytes) -> None:
        """Append a piece; raises as ``Spool.open``."""
        size = self.size_bytes + len(piece)
        if not self._is_file and size <= SMALL_BYTES and self._spool.take_memory(len(piece)):
            self._memory_bytes += len(piece)
        elif size > self._reserved_bytes:
            ahead = self._reserved_bytes + _PIECE_BYTES
            self.reserve(max(size, ahead if self._length is None else min(ahead, self._length)))
        self.size_bytes = size
        self._pending_bytes += len(piece)
        self._pieces.append(piece)

    def is_due(self, *, at_end: bool) -> bool:
        """Return whether pieces are to be written."""
        return self._is_file and self._pending_bytes >= (1 if at_end else _DUE_BYTES)

    def take_pieces(self) -> list[bytes]:
        """Return the pieces that are not written yet, which are the caller's from now on."""
        pieces, self._pieces, self._pending_bytes = self._pieces, [], 0
        return pieces

    def write(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write pieces to the file.

        Raises
        ------
        StoreFullError
            The disk is full.
        UpstreamError
            It fails otherwise.
        """
        try:
            if self._file is None:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise _as_own_error(error) from error

    def stream(self) -> IO[bytes]:
        """Return the whole body, from its start."""
        if self._file is None:
            return io.BytesIO(b"".join(self.take_pieces()))
        self._file.seek(0)
        return self._file

    def chunks(self) -> Iterator[bytes]:
        """Return the whole body, from its start, in pieces of a megabyte."""
        stream = self.stream()
        return iter(lambda: stream.read(_PIECE_BYTES), b"")

    def close(self) -> None:
        """Release the body and its reservation."""
        if self._file is not None:
            self._file.close()
        self._pieces.clear()
        self._spool.give_back(self._reserved_bytes, self._memory_bytes)
        self._reserved_bytes = self._memory_bytes = 0


def _as_own_error(error: OSError) -> NDLambdaError:
    if is_full(error):
        return StoreFullError("The disk of the server is full; its operator must make room.")
    return UpstreamError(f"The body cannot be stored while it arrives: {error.strerror}.")
