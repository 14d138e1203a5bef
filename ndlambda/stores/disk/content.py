"""Reads the bytes of files, and computes their ETags."""

import hashlib
import mmap
import os
import stat
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np

from ndlambda.stores.ports import Range, StoredObject

_MAP_FROM_BYTES = 64 * 1024
_HEAD_BYTES = 4096
_PIECE_BYTES = 1 << 20
_LARGE_BYTES = 1 << 30
"""From this size the ETag of a foreign file is its times: reading it whole takes too long."""


def read_content(path: Path, *, mapped: bool = True) -> memoryview | None:
    """Return a file's bytes, read-only; None if there is no file.

    Small files are read, which is faster and holds no descriptor; larger ones are mapped, so that
    only accessed pages are read. The mapping is a snapshot because files are never changed in
    place. Files that others may change must be read: accessing the mapping of a truncated file
    kills the process.
    """
    descriptor = open_file(path)
    if descriptor is None:
        return None
    try:
        status = os.fstat(descriptor)
        if status.st_size < _MAP_FROM_BYTES:
            return memoryview(os.read(descriptor, _MAP_FROM_BYTES))
        if not mapped:
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return memoryview(file.read())
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)


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
