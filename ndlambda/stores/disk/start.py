"""Checks a data folder before it is used: whose it is, and that its files belong together.

A table that is empty, cut off, or another program's would start as a new server, beside the voxels
of the old one.
"""

import logging
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Final

from ndlambda.errors import StoreUnavailableError
from ndlambda.stores.disk.identity import OBJECTS, TABLE, check_same_stores
from ndlambda.stores.disk.keys import list_files

QUEUE: Final = "queue.sqlite"

_log = logging.getLogger("ndlambda.stores")

_ROWS: Final = "rows"
_MESSAGES: Final = "messages"


def check_data_folder(data: Path) -> None:
    """Check a data folder, and close it to other users of the machine.

    Raises
    ------
    StoreUnavailableError
        There are objects without the rows or messages that belong to them, or rows without their
        objects; or a file is not this program's.
    UpstreamError
        A file cannot be read.
    """
    _tighten(data)
    has_objects = next(list_files(data / OBJECTS, "", ""), None) is not None
    for name, table in ((TABLE, _ROWS), (QUEUE, _MESSAGES)):
        fault, is_new = _fault(data / name, table)
        if fault and (has_objects or not is_new):
            remedy = "Put it back from a backup"
            if name == QUEUE:  # the rows say what is to be done, and sweeps send messages again
                remedy = "Delete it; messages are sent again within half an hour"
            beside = f", beside the objects in {data / OBJECTS}" if has_objects else ""
            raise StoreUnavailableError(
                f"{data / name} {fault}{beside}. {remedy}. To start without what is there, "
                f"move {data} away."
            )
    check_same_stores(data)


def _tighten(folder: Path) -> None:
    """Take all rights from others where they have some; a group that was let in stays."""
    status = folder.stat()
    mode = stat.S_IMODE(status.st_mode)
    if mode & stat.S_IRWXO and status.st_uid == os.geteuid():
        folder.chmod(stat.S_IRWXU)
        _log.warning(
            "The data folder %s was open to all users of this machine (mode %o) and is not any "
            "more (mode 700); it holds private volumes and keys.",
            folder,
            mode,
        )


def _fault(path: Path, table: str) -> tuple[str, bool]:
    """Return what is wrong with a SQLite file, and whether it may be so in a new folder.

    SQLite itself notices a file that is shorter than it says.
    """
    if not path.exists():
        return ("is missing", True) if table == _ROWS else ("", True)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as found:
            names = {name for (name,) in found.execute("SELECT name FROM sqlite_master")}
            if table not in names:
                return ("is another program's", False) if names else ("is empty", True)
            if table == _ROWS and not found.execute("SELECT 1 FROM rows LIMIT 1").fetchone():
                return "has no rows", True
    except sqlite3.Error as error:
        return f"cannot be read ({error})", False
    return "", True
