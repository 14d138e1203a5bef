"""Tells a full disk from other failures of a disk."""

import sqlite3
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Final

from ndlambda.errors import StoreFullError, UpstreamError
from ndlambda.stores.limits import is_full

_PROBE_BYTES: Final = 1 << 16


def store_error(error: OSError, what: str, **details: Any) -> UpstreamError:
    """Return our error for one of the operating system; ``what`` begins its message."""
    kind = StoreFullError if is_full(error) else UpstreamError
    return kind(f"{what}: {error.strerror}.", **details)


def has_no_room(error: sqlite3.Error, folder: Path) -> bool:
    """Return whether SQLite failed because the disk of a folder, or a quota on it, is full.

    SQLite names a full disk only where writing a page failed of it; for its log's index and for
    quotas it tells of an input or output error, so writing is tried.
    """
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code != sqlite3.SQLITE_IOERR:
        return bool(code == sqlite3.SQLITE_FULL)
    try:
        with TemporaryFile(dir=folder, buffering=0) as file:
            file.write(bytes(_PROBE_BYTES))
    except OSError as refused:
        return is_full(refused)
    return False
