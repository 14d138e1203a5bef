"""Locks between threads and processes, released by the kernel when the holder dies."""

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STRIPES = 4096


class LockFolder:
    """Exclusive locks by name on a bounded number of lock files.

    The kernel releases a ``flock`` when its holder dies. Each acquisition opens the file again, so
    that threads of one process exclude each other as processes do. Two names may share a file; a
    holder must not acquire a second lock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the lock of a name; waits without limit."""
        stripe = zlib.crc32(name.encode()) % STRIPES
        descriptor = os.open(self._folder / f"{stripe:03x}", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                # Closing alone does not unlock while a forked child has the descriptor, too.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)
