"""Reads the bytes of files, and computes their ETags."""

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np

from ndlambda.errors import UpstreamError
from ndlambda.stores.ports import Range, StoredObject

_OPEN_FROM_BYTES = 64 * 1024
_HEAD_BYTES = 4096
_PIECE_BYTES = 1 << 20
_LARGE_BYTES = 1 << 30
"""From this size the ETag of a foreign file is its times: reading it whole takes too long."""


class OpenedFile(StoredObject):
    """An object whose parts are read from its file when they are asked for.

    All parts are of one version, since files are replaced and never changed in place. A file that
    was cut short nevertheless ends early; a mapping of it would kill the process where it is
    accessed.

    Parameters
    ----------
    descriptor
        Closed with this object.
    key
        For errors.
    """

    __slots__ = ("_computed_etag", "_descriptor", "_key", "_whole")

    def __init__(self, descriptor: int, key: str) -> None:
        self._descriptor = descriptor
        self._key = key
        self._whole: memoryview | None = None
        self._computed_etag = ""
        super().__init__(memoryview(b""), "", os.fstat(descriptor).st_size)

    def __del__(self) -> None:
        os.close(self._descriptor)

    @property
    def data(self) -> memoryview:
        """All bytes, read at the first call.

        Raises
        ------
        UpstreamError
            The file cannot be read.
        """
        if self._whole is None:
            self._whole = self.part(0, self.size)
        return self._whole

    @property
    def etag(self) -> str:
        """The identifier of the content, of which all bytes are read at the first call."""
        if not self._computed_etag:
            self._computed_etag = content_etag(self.data)
        return self._computed_etag

    def part(self, start: int, stop: int) -> memoryview:
        """Read some of the bytes; raises as ``data``."""
        if self._whole is not None:
            return self._whole[start:stop]
        try:
            return memoryview(_read_at(self._descriptor, start, min(stop, self.size)))
        except OSError as error:
            raise UpstreamError(
                f"The object {self._key} cannot be read: {error.strerror}.", key=self._key
            ) from error


def _read_at(descriptor: int, start: int, stop: int) -> bytes:
    """Read from a file, fewer bytes where it ends before."""
    read = os.pread(descriptor, max(0, stop - start), start)
    while len(read) < stop - start:  # one call reads 2 GiB at most
        more = os.pread(descriptor, stop - start - len(read), start + len(read))
        if not more:
            break
        read += more
    return read


def open_content(path: Path, key: str, *, whole: bool = False) -> StoredObject | None:
    """Return the object in a file; None if there is no file.

    Small files are read at once, which is faster and holds no descriptor.

    Parameters
    ----------
    path, key
        The file, and the key of its object.
    whole
        Whether large files are read at once, too, since others change them in place.
    """
    descriptor = open_file(path)
    if descriptor is None:
        return None
    opened = OpenedFile(descriptor, key)
    if whole or opened.size < _OPEN_FROM_BYTES:
        data = opened.data
        return StoredObject(data, lambda: content_etag(data), len(data))
    return opened


def open_file(path: Path) -> int | None:
    """Return a descriptor of a regular file, None if there is none; never blocks on a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def read_range(path: Path, wanted: Range) -> StoredObject | None:
    """Read a range of a file that others may write, without holding the whole file.

    The ETag is that of ``content_etag``; for a file of a gigabyte or more it is computed from its
    length and times.
    """
    descriptor = open_file(path)
    if descriptor is None:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_size < _LARGE_BYTES:
            return _read_through(file, wanted)
        file.seek(wanted.start)
        data = file.read(max(0, min(wanted.stop, status.st_size) - wanted.start))
    facts = f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
    name = hashlib.blake2b(facts.encode(), digest_size=20).hexdigest()
    return StoredObject(memoryview(data), name, status.st_size)


def _read_through(file: BinaryIO, wanted: Range) -> StoredObject:
    head, checksum = hashlib.blake2b(digest_size=16), 0
    kept, size = bytearray(), 0
    while piece := file.read(_PIECE_BYTES):
        head.update(piece[: max(0, _HEAD_BYTES - size)])
        checksum = google_crc32c.extend(checksum, piece)
        kept += piece[max(0, wanted.start - size) : max(0, wanted.stop - size)]
        size += len(piece)
    head.update(size.to_bytes(8, "little"))
    name = f"{head.hexdigest()}{checksum:08x}"
    return StoredObject(memoryview(kept).toreadonly(), name, size)


def content_etag(content: memoryview) -> str:
    """Return the ETag of an object: BLAKE2 of its first 4096 bytes and length, CRC-32C of all.

    A supercuboid starts with 16 random bytes, so the first part alone distinguishes any two; the
    checksum distinguishes other objects at the speed of memory.
    """
    head = hashlib.blake2b(content[:_HEAD_BYTES], digest_size=16)
    head.update(len(content).to_bytes(8, "little"))
    # The C function accepts no memoryview, but arrays, without a copy.
    checksum = google_crc32c.value(np.frombuffer(content, np.uint8))
    return f"{head.hexdigest()}{checksum:08x}"
