"""A lock shared by the servers of a data folder, released by the kernel when a server dies."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def server_lock(data: Path, take_over: Callable[[], object]) -> Iterator[None]:
    """Hold the lock of a server of a data folder.

    Parameters
    ----------
    take_over
        Called at the beginning if no other server holds the lock: what servers had in progress is
        then abandoned. Not called if the file system has no locks.
    """
    descriptor = os.open(data / "servers.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if _is_alone(descriptor):
            take_over()
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _is_alone(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
