"""The bytes of a file and the ETag that names them."""

import hashlib
import mmap
import os
import stat
from pathlib import Path

import google_crc32c
import numpy as np

_MAP_FROM_BYTES = 64 * 1024
_HEAD_BYTES = 4096


def read_content(path: Path, *, mapped: bool = True) -> memoryview | None:
    """Give a file's bytes, read-only; None where there is no file.

    Small files are read, which is faster and holds no descriptor; larger ones are mapped, so that
    only what is looked at is read. Valid as a snapshot because files are never changed in place.
    Where others may change them, let all be read: a mapping of a file that is cut short kills the
    process that looks at it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        if status.st_size < _MAP_FROM_BYTES:
            return memoryview(os.read(descriptor, _MAP_FROM_BYTES))
        if not mapped:
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return memoryview(file.read())
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)


def content_etag(content: memoryview) -> str:
    """Give the ETag of an object: BLAKE2 of its first 4096 bytes and length, CRC-32C of it all.

    A supercuboid starts with 16 random bytes, so the first part alone tells any two apart; the
    checksum does for other objects at the speed of memory.
    """
    head = hashlib.blake2b(content[:_HEAD_BYTES], digest_size=16)
    head.update(len(content).to_bytes(8, "little"))
    # The C function takes no memoryview, but any array, without a copy.
    checksum = google_crc32c.value(np.frombuffer(content, np.uint8))
    return f"{head.hexdigest()}{checksum:08x}"
