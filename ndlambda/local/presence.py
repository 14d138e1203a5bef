"""Which servers are at work on a data folder: a lock that no killed server leaves behind."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def presence(data: Path, take_over: Callable[[], object]) -> Iterator[None]:
    """Be known as a server of a data folder while the context lasts.

    Parameters
    ----------
    take_over
        Called at the beginning where there is no other server: whatever one held is a dead one's.
        Not called where the file system knows no locks.
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
