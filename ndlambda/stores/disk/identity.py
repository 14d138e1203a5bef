"""Notices when the disk of a folder is gone: unmounted, renamed, or replaced by another folder.

A folder has a file ``.identity`` with a random text. A path without it is not that folder, so what
is missing there is unknown instead of absent, and what is written there is lost.
"""

import errno
import os
import secrets
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from ndlambda.errors import StoreUnavailableError, UpstreamError

IDENTITY_NAME: Final = ".identity"
OBJECTS: Final = "objects"
TABLE: Final = "table.sqlite"

_MAX_BYTES: Final = 64
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ENXIO})


class Identity:
    """The identity of a folder, which is created in one that has none.

    Parameters
    ----------
    folder
        Created if absent.
    text
        For a folder without identity; by default random.

    Raises
    ------
    OSError
        The folder cannot be written, or its identity not be read.
    """

    def __init__(self, folder: Path, text: str = "") -> None:
        self._path = folder / IDENTITY_NAME
        folder.mkdir(parents=True, exist_ok=True)
        if not read_identity(folder):
            _create(self._path, text or secrets.token_hex(16))
        self.text = read_identity(folder).decode()
        if not self.text:
            raise OSError(errno.EIO, "The identity of the folder cannot be read", str(self._path))

    def check(self) -> None:
        """Check that the folder is there, before something is stored.

        Raises
        ------
        StoreUnavailableError
            It is not.
        UpstreamError
            Its identity cannot be read, so whether it is there is unknown.
        """
        self._check("Nothing was stored")

    def check_written(self) -> None:
        """Check that the folder is still there, after something was stored.

        Raises
        ------
        StoreUnavailableError
            It is not, so what was stored may be lost.
        UpstreamError
            Its identity cannot be read, so whether it is there is unknown.
        """
        self._check("What was just written may be lost")

    def _check(self, outcome: str) -> None:
        folder = self._path.parent
        if _read(folder) != self.text.encode():
            raise StoreUnavailableError(
                f"The folder {folder} is not there any more (an unmounted disk, or another folder "
                f"in its place). {outcome}; it goes on when it is back."
            )


def read_identity(folder: Path) -> bytes:
    """Return the identity of a folder, empty if it has none or is not there.

    Raises
    ------
    OSError
        Whether there is one is unknown, for example if the process has too many open files.
    """
    try:
        descriptor = os.open(folder / IDENTITY_NAME, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _MAX_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _ABSENT:
            return b""
        raise


def check_same_stores(data: Path) -> None:
    """Check that the objects in a data folder belong to its rows; let both have one identity.

    A data folder of an older version has none; it is taken for whole if its folder of objects was
    ever used, or it has no rows.

    Raises
    ------
    StoreUnavailableError
        The folder of objects is missing, empty, or another one.
    UpstreamError
        The rows or an identity cannot be read, so whether there are any is unknown.
    """
    objects = data / OBJECTS
    of_rows, of_objects = _read(data), _read(objects)
    if of_rows and of_objects:
        is_same = of_rows == of_objects
    else:
        is_whole = not of_rows and (bool(of_objects) or _is_used(objects))
        is_same = is_whole or not _has_rows(data / TABLE)
    if not is_same:
        raise StoreUnavailableError(
            f"{data / TABLE} has rows, but {objects} is not the folder with their voxels: it is "
            "missing, empty, or another one. Mount its disk, or put the folder back, and start "
            f"again. To give up its voxels, delete {data / IDENTITY_NAME} and create "
            f"{objects / '.temp'}."
        )
    # Of the objects first: without that of the rows this is repeated.
    Identity(data, Identity(objects, of_rows.decode()).text)


def _read(folder: Path) -> bytes:
    """Return the identity of a folder as ``read_identity`` does, with our errors."""
    try:
        return read_identity(folder)
    except OSError as error:
        raise UpstreamError(
            f"The identity of the folder {folder} cannot be read: {error.strerror}."
        ) from error


def _create(path: Path, text: str) -> None:
    """Write a file that appears complete or not at all; of several processes the first wins."""
    draft = path.with_name(f"{IDENTITY_NAME}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()


def _is_used(objects: Path) -> bool:
    """Return whether a folder of objects was ever opened, which leaves folders in it."""
    return objects.is_dir() and any(objects.iterdir())


def _has_rows(table: Path) -> bool:
    """Return whether a file has rows; a file that cannot be read may have some, and is refused."""
    if not table.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{table.absolute().as_uri()}?mode=ro", uri=True)) as found:
            has_table = found.execute("SELECT 1 FROM sqlite_master WHERE name = 'rows'").fetchone()
            return bool(has_table and found.execute("SELECT 1 FROM rows LIMIT 1").fetchone())
    except sqlite3.Error as error:
        raise UpstreamError(f"{table} cannot be read: {error}.") from error
