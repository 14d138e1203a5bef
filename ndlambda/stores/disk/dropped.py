"""ObjectStore on files that users copy into a folder."""

import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ndlambda.errors import MalformedBodyError, UpstreamError
from ndlambda.stores.disk.content import read_range
from ndlambda.stores.disk.keys import check_key, list_files
from ndlambda.stores.disk.objects import DiskObjectStore, translated
from ndlambda.stores.links import DropLinks
from ndlambda.stores.ports import ByteRange, ObjectInfo, Range, StoredObject

REST_S: Final = 1.0
"""A file that has not changed for this long counts as complete."""

_FILE_ERRORS: Final = frozenset({errno.EACCES, errno.EPERM, errno.EIO})
"""Errors that a retry does not resolve; a user must repair the file."""


class DroppedFiles(DiskObjectStore):
    """Objects as files that others write, too, slowly and in place.

    Files being written are not listed: the end of a half-written image is missing, or zeros if its
    space was preallocated. Change times are used, since modification times are copied along with
    files.

    Parameters
    ----------
    root, fsync, clock
        See ``DiskObjectStore``.
    own
        Prefix of keys written by this store only, which are complete as soon as they exist.
    last
        Name of the file that marks a folder as complete; it is listed once its whole folder is at
        rest, since the files of a folder are copied in any order.
    """

    def __init__(
        self,
        root: Path,
        own: str,
        last: str,
        *,
        fsync: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(root, fsync=fsync, changed_by_others=True, clock=clock)
        self._folder = root
        self._links = DropLinks(root)
        self._own, self._last = own, last
        self._clock = clock

    def get(
        self, key: str, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> StoredObject | None:
        """Read an object or a range of it; None if there is none.

        Raises
        ------
        MalformedBodyError
            The file exists and cannot be read.
        InvalidArgumentError, PreconditionFailedError, UpstreamError
            As of any store.
        """
        if not self._links.is_inside(check_key(key)):
            return None
        try:
            if not isinstance(byte_range, Range) or if_match or key.startswith(self._own):
                return super().get(key, byte_range, if_match=if_match)
            with translated(key):
                path = self._folder / check_key(key)
                return self._find(lambda: read_range(path, byte_range))
        except UpstreamError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno not in _FILE_ERRORS:
                raise
            name = key.rpartition("/")[2]
            raise MalformedBodyError(
                f"{name} cannot be read ({cause.strerror}).", key=key
            ) from cause

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Iterate in key order over the objects that are at rest, with the prefix and > after.

        Pipes, names that are not keys, and files in unreadable folders are left out.
        """
        for info in list_files(self._folder, prefix, after, foreign=True):
            if info.key.startswith(self._own) or self._is_whole(info.key):
                yield info
        self.check()

    def _is_whole(self, key: str) -> bool:
        folder, _, name = key.rpartition("/")
        if name != self._last:
            return self._is_at_rest(key)
        others = list_files(self._folder, f"{folder}/", "", foreign=True)
        return all(self._is_at_rest(info.key) for info in others)

    def _is_at_rest(self, key: str) -> bool:
        try:
            changed_at = (self._folder / key).stat().st_ctime
        except OSError:  # gone, or in an unreadable folder
            return False
        # A change in the future: the clock was set back meanwhile.
        return abs(self._clock() - changed_at) >= REST_S
