"""ObjectStore on files."""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar

from ndlambda.errors import (
    InvalidArgumentError,
    NDLambdaError,
    PreconditionFailedError,
    UpstreamError,
)
from ndlambda.stores.disk.content import content_etag, open_content
from ndlambda.stores.disk.full import store_error
from ndlambda.stores.disk.identity import Identity
from ndlambda.stores.disk.keys import LOCKS_NAME, TEMPORARY_NAME, check_key, list_files
from ndlambda.stores.disk.locks import LockFolder
from ndlambda.stores.ports import (
    ByteRange,
    Create,
    ObjectInfo,
    PutMode,
    Replace,
    StoredObject,
    Suffix,
)
from ndlambda.trace import span

STALE_AFTER_S = 3600
_PLACE_ATTEMPTS = 100

_Found = TypeVar("_Found")


class DiskObjectStore:
    """Objects as files: the object ``a/b/c`` is the file ``root/a/b/c``.

    A file is written under a temporary name, synced and renamed, so a reader or a crash sees the
    old content or the new, and never changed in place, so an opened file is a snapshot. All
    writers of a key hold its lock while they compare and rename: an unconditional put or delete
    without the lock could fall between comparison and rename of a conditional put and be lost.

    Where a file is missing, and before a write is acknowledged, the identity of the root is looked
    at: a disk that is gone is no empty store.

    Requires a local, case-sensitive, journalling POSIX file system (``flock``, hard links).

    Parameters
    ----------
    root
        The folder; made if absent. ``.locks``, ``.temp`` and ``.identity`` in it are the
        store's own.
    fsync
        Whether an acknowledged write survives a power cut; it always survives kill -9.
    changed_by_others
        Whether others change files in place; then they are read at once.
    clock
        Unix seconds; decides which temporary files are left over from a dead process.
    """

    def __init__(
        self,
        root: Path,
        *,
        fsync: bool = True,
        changed_by_others: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._changed_by_others = changed_by_others
        self._fsync = fsync
        self._temporary = root / TEMPORARY_NAME
        with translated(""):
            self._identity = Identity(root)
            self._temporary.mkdir(parents=True, exist_ok=True)
            self._locks = LockFolder(root / LOCKS_NAME)
            self._remove_stale(clock() - STALE_AFTER_S)

    @property
    def whole_reads_are_cheap(self) -> bool:
        """Whether large files are opened, so that only parts that are asked for are read."""
        return not self._changed_by_others

    def get(
        self, key: str, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> StoredObject | None:
        """Read an object or a range of it; None if there is none.

        Raises
        ------
        InvalidArgumentError
            The key is not a valid path.
        PreconditionFailedError
            ``if_match`` was given and the object has another ETag now (or is gone).
        """
        with span("object.get", key=key), translated(key):
            path = self._path(key)
            whole = self._find(lambda: open_content(path, key, whole=self._changed_by_others))
        if if_match is not None and (whole is None or whole.etag != if_match):
            raise PreconditionFailedError("The object has changed or is gone.", key=key)
        if whole is None or byte_range is None:
            return whole
        size = whole.size
        if isinstance(byte_range, Suffix):
            data = whole.part(max(0, size - byte_range.length), size)
        else:
            data = whole.part(byte_range.start, byte_range.stop)
        return StoredObject(data, lambda: whole.etag, size)

    def put(self, key: str, data: bytes | memoryview, mode: PutMode) -> str:
        """Write an object atomically and durably and return its ETag.

        Raises
        ------
        InvalidArgumentError
            The key is not a valid path, or it and another key are folder and file.
        PreconditionFailedError
            ``Create`` found an object, or ``Replace`` found another ETag or none.
        """
        path = self._path(key)
        content = memoryview(data).cast("B")
        temporary = self._temporary / uuid.uuid4().hex
        with span("object.put", key=key, bytes=len(content)), translated(key):
            self._identity.check()
            try:
                self._write(temporary, content)
                with self._locks.hold(key):
                    if isinstance(mode, Replace):
                        _check_unchanged(path, key, mode.etag)
                    folder_is_new = _place(temporary, path, key, exclusive=isinstance(mode, Create))
            finally:
                temporary.unlink(missing_ok=True)
            self._sync(path.parent, up_to_root=folder_is_new)
            self._identity.check_written()
        return content_etag(content)

    def delete(self, key: str) -> None:
        """Remove an object and the folders that it leaves empty; no error if there is none."""
        self.delete_many([key])

    def delete_many(self, keys: Sequence[str]) -> None:
        """Remove objects and the folders that they leave empty; each folder is synced once."""
        paths = {key: self._path(key) for key in keys}
        with translated(next(iter(paths), "")):
            self._identity.check()
            folders, failures = set[Path](), list[NDLambdaError]()
            for key, path in paths.items():
                try:
                    with translated(key), self._locks.hold(key):
                        if path.is_file():
                            path.unlink()
                            folders.add(path.parent)
                except NDLambdaError as error:
                    failures.append(error)
            for folder in {self._remove_empty(folder) for folder in folders}:
                self._sync(folder)
            self._identity.check_written()
        if failures:
            raise failures[0]

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Iterate in key order over the objects whose keys start with prefix and are > after."""
        with translated(prefix):
            yield from list_files(self._root, prefix, after)
            self._identity.check()

    def check(self) -> None:
        """Check that the root is there.

        Raises
        ------
        StoreUnavailableError
            It is not.
        """
        self._identity.check()

    def presign(
        self,
        verb: Literal["get", "put"],
        key: str,
        expires_s: int,
        size_bytes: int | None = None,
    ) -> str | None:
        """Return None: files have no URL."""
        del verb, key, expires_s, size_bytes
        return None

    def _find(self, read: Callable[[], _Found | None]) -> _Found | None:
        """Read a file, and again if it is missing and the root is there, since it may be back."""
        found = read()
        if found is None:
            self._identity.check()
            found = read()
        return found

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _write(self, path: Path, content: memoryview) -> None:
        with path.open("xb") as file:
            file.write(content)
            if self._fsync:
                file.flush()
                os.fsync(file.fileno())

    def _sync(self, folder: Path, *, up_to_root: bool = False) -> None:
        """Make the names in a folder durable, and those of new folders above it."""
        while self._fsync:
            # A concurrent delete removed the folder: nothing is left to sync.
            with suppress(FileNotFoundError):
                _sync_folder(folder)
            if not up_to_root or folder == self._root:
                return
            folder = folder.parent

    def _remove_empty(self, folder: Path) -> Path:
        """Remove empty folders upwards; return the first that stays."""
        while folder != self._root:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:  # not empty
                return folder
            folder = folder.parent
        return folder

    def _remove_stale(self, before: float) -> None:
        for path in self._temporary.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()


def _check_unchanged(path: Path, key: str, etag: str) -> None:
    present = open_content(path, key)
    if present is None or present.etag != etag:
        raise PreconditionFailedError("The object has changed or is gone.", key=key)


def _place(temporary: Path, path: Path, key: str, *, exclusive: bool) -> bool:
    """Move a file to its path; return whether its folder had to be created."""
    folder_is_new = False
    for _ in range(_PLACE_ATTEMPTS):
        try:
            if exclusive:
                path.hardlink_to(temporary)
            else:
                temporary.replace(path)
        except FileExistsError:
            if path.is_dir():
                raise IsADirectoryError(str(path)) from None
            raise PreconditionFailedError("There is an object already.", key=key) from None
        except FileNotFoundError:
            # The folder does not exist yet, or a concurrent delete removed it as empty.
            folder_is_new = True
            with suppress(FileNotFoundError, FileExistsError):
                path.parent.mkdir(parents=True, exist_ok=True)
        else:
            return folder_is_new
    raise UpstreamError("The folder of the object keeps being removed; try again.", key=key)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def translated(key: str) -> Iterator[None]:
    """Translate the errors of files to ours."""
    try:
        yield
    except (NotADirectoryError, IsADirectoryError) as error:
        raise InvalidArgumentError(
            f"The key {key!r} is the folder of another key, or another key is its folder.", key=key
        ) from error
    except OSError as error:
        raise store_error(error, "The object store failed", key=key) from error
