"""A lock shared by the servers of a data folder, released by the kernel when a server dies."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def server_lock(data: Path, take_over: Callable[[], object]) -> Iterator[bool]:
    """Hold the lock of a server of a data folder.

    Parameters
    ----------
    take_over
        Called at the beginning if no other server holds the lock: what servers had in progress is
        then abandoned. Not called if the file system has no locks.

    Yields
    ------
    bool
        Whether another server is known to hold the lock.
    """
    descriptor = os.open(data / "servers.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        alone = _is_alone(descriptor)
        if alone:
            take_over()
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield alone is False
    finally:
        os.close(descriptor)


def _is_alone(descriptor: int) -> bool | None:
    """Return whether no other server holds the lock; None if the file system has none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
