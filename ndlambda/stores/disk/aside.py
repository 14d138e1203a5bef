"""Moves dropped files aside whose channel was deleted, and deletes them later."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from ndlambda.errors import StoreUnavailableError
from ndlambda.stores.disk.keys import ASIDE
from ndlambda.stores.disk.objects import translated


class AsideFolder:
    """The folder ``drop/.deleted``, with a part for each deleted channel.

    Links are moved and deleted as links: what they point to is never touched, nor anything behind a
    link above a folder (but for ``drop``, which may be a link itself).

    Parameters
    ----------
    root
        Folder of the disk stores, which contains the folder ``drop``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._drop = root / "drop"

    def set_aside(self, folder: str, name: str, before: float) -> str:
        """Move what lies in a folder and was not changed since; return where it is, or empty.

        Raises
        ------
        StoreUnavailableError
            There is no folder ``drop`` (an unmounted disk).
        UpstreamError
            A folder cannot be read, or a file cannot be moved.
        """
        where = f"{ASIDE}{name}/{folder.partition('/')[2]}"
        source, target = self._root / folder, self._root / ASIDE / name
        with translated(folder):
            self._check()
            parents = self._parents(source)
            if any(path.is_symlink() or _is_moved_in(path, before) for path in parents):
                return ""
            if source.is_symlink():
                self._move(source, target, before)
            else:
                self._empty(source, target, before)
            self._check()
            return where if os.path.lexists(self._root / where) else ""

    def remove(self, name: str) -> None:
        """Delete what was set aside under a name; no error if nothing was."""
        with translated(name), suppress(FileNotFoundError):
            shutil.rmtree(self._root / ASIDE / name)

    def _empty(self, source: Path, target: Path, before: float) -> None:
        """Move what was not changed since, and remove the folders that are empty then."""
        walked = list(_walk(source, before))
        for folder, names in walked:
            for name in names:
                self._move(folder / name, target, before)
        for folder, _ in reversed(walked):
            with suppress(OSError):  # not empty
                folder.rmdir()

    def _move(self, path: Path, target: Path, before: float) -> None:
        """Move a file or link, unless it was changed since."""
        with suppress(FileNotFoundError):
            if path.lstat().st_ctime <= before:
                target.mkdir(parents=True, exist_ok=True)
                _rename(path, _free_path(target, path.relative_to(self._drop)))

    def _check(self) -> None:
        """Check that the folder is there: else all folders in it would count as empty."""
        if not self._drop.is_dir():
            raise StoreUnavailableError(f"There is no folder {self._drop} (an unmounted disk?).")

    def _parents(self, source: Path) -> list[Path]:
        """Return the folders between ``drop`` and a folder in it."""
        return [parent for parent in source.parents if self._drop in parent.parents]


def _walk(folder: Path, before: float) -> Iterator[tuple[Path, list[str]]]:
    """Iterate over folders and the names of all in them but folders; a link is a file.

    What was moved in later is left out with all below it.
    """
    for parent, folders, files in os.walk(folder, onerror=_raise_if_there):
        here = Path(parent)
        if _is_moved_in(here, before):
            folders.clear()
        else:
            yield here, files + [name for name in folders if (here / name).is_symlink()]


def _is_moved_in(folder: Path, before: float) -> bool:
    """Return whether a folder was put where it is after a time (or its mode changed).

    That changes the folder, but not its content; what is dropped into a folder changes both.
    """
    try:
        status = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return status.st_mtime <= before < status.st_ctime


def _raise_if_there(error: OSError) -> None:
    """Raise the error of listing a folder, unless there is no such folder."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _free_path(folder: Path, relative: Path) -> Path:
    """Return a path that does not exist, and make its parents; no link in the folder is followed.

    A name that is taken gets a number before it.
    """
    for name in relative.parts[:-1]:
        folder = next(path for path in _names(folder, name) if _is_made_folder(path))
    return next(path for path in _names(folder, relative.name) if not os.path.lexists(path))


def _names(folder: Path, name: str) -> Iterator[Path]:
    yield folder / name
    yield from (folder / f"{number}.{name}" for number in count(1))


def _is_made_folder(path: Path) -> bool:
    """Make a folder if nothing is there; return whether a folder is there, and no link."""
    with suppress(FileExistsError):
        path.mkdir()
    return path.is_dir() and not path.is_symlink()


def _rename(path: Path, to: Path) -> None:
    try:
        path.rename(to)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        try:
            shutil.copy2(path, to, follow_symlinks=False)
            path.unlink()
        except OSError:
            to.unlink(missing_ok=True)
            raise
