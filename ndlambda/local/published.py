"""The addresses of the servers that run on a data folder, each in a file that its server locks."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_FILES: Final = "server.*.url"


@contextmanager
def published(data: Path, url: str) -> Iterator[None]:
    """Keep the address of a server in its folder while it runs, and take out those of dead ones.

    The kernel releases the lock however the server ends, so that its address is never taken for
    that of a server that runs.
    """
    import fcntl

    for left in data.glob(_FILES):
        if not _is_alive(left):
            left.unlink(missing_ok=True)
    name = secrets.token_hex(4)
    draft, file = data / f"server.{name}", data / f"server.{name}.url"
    with draft.open("x") as held:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        held.write(f"{url}\n")
        held.flush()
        draft.rename(file)  # seen only once it is locked
        try:
            yield
        finally:
            with suppress(OSError):
                file.unlink()


def find_address(data: Path) -> str | None:
    """Return the URL of a server that runs on a data folder, the one that runs longest, or None."""
    found = []
    for file in data.glob(_FILES):
        with suppress(OSError):
            if _is_alive(file):
                found.append((file.stat().st_mtime_ns, file.read_text().strip()))
    return min(found)[1] if found else None


def _is_alive(file: Path) -> bool:
    """Return whether a server holds the lock; True if the file system has none."""
    import fcntl  # which only systems that run servers have

    try:
        with file.open("rb") as asked:
            fcntl.flock(asked, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
