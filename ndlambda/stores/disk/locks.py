"""Locks between threads and processes that a killed holder never leaves behind."""

import fcntl
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STRIPES = 4096


class LockFolder:
    """Exclusive locks by name on a bounded number of lock files.

    The kernel drops a ``flock`` when its holder dies, whatever killed it. Each taking opens the
    file anew, so that threads of one process exclude each other like processes do. Two names may
    share a file; a holder must not take a second lock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the lock of a name, waiting for it as long as it takes."""
        stripe = zlib.crc32(name.encode()) % STRIPES
        descriptor = os.open(self._folder / f"{stripe:03x}", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                # Closing alone would not unlock while a forked child has the descriptor too.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)
