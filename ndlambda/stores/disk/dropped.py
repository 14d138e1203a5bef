"""ObjectStore on files that people copy in."""

import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ndlambda.errors import MalformedBodyError, UpstreamError
from ndlambda.stores.disk.content import read_range
from ndlambda.stores.disk.keys import check_key, list_files
from ndlambda.stores.disk.objects import DiskObjectStore, translated
from ndlambda.stores.ports import ByteRange, ObjectInfo, Range, StoredObject

REST_S: Final = 1.0
"""A file that has not changed for so long is taken for whole."""

_FAULTS_OF_FILES: Final = frozenset({errno.EACCES, errno.EPERM, errno.EIO})
"""What waiting does not mend; somebody has to see to the file."""


class DroppedFiles(DiskObjectStore):
    """Objects as files that others write, too: in place, slowly, and without asking.

    What is being written is not listed: of a half-written image the end is missing, of a file
    whose space was reserved beforehand it is zeros. Times of change are asked for, since those of
    modification are copied along with files.

    Parameters
    ----------
    root, fsync, clock
        See ``DiskObjectStore``.
    own
        Keys that begin so are put by this store only, and whole as soon as they are there.
    last
        A file of this name is listed when all of its folder is at rest, since it says that all is
        there; who copies a folder copies it whenever he likes.
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
        super().__init__(root, fsync=fsync, mapped=False, clock=clock)
        self._folder = root
        self._own, self._last = own, last
        self._clock = clock

    def get(
        self, key: str, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> StoredObject | None:
        """Read an object or a range of it; None where there is none.

        Raises
        ------
        MalformedBodyError
            The file is there and cannot be read.
        InvalidArgumentError, PreconditionFailedError, UpstreamError
            As of any store.
        """
        try:
            if not isinstance(byte_range, Range) or if_match or key.startswith(self._own):
                return super().get(key, byte_range, if_match=if_match)
            with translated(key):
                return read_range(self._folder / check_key(key), byte_range)
        except UpstreamError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno not in _FAULTS_OF_FILES:
                raise
            name = key.rpartition("/")[2]
            raise MalformedBodyError(
                f"{name} cannot be read ({cause.strerror}).", key=key
            ) from cause

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Iterate in key order over the objects that are at rest, with the prefix and > after.

        What is no object (a pipe, a name that is no key, what lies behind a closed folder) is none.
        """
        for info in list_files(self._folder, prefix, after, foreign=True):
            if info.key.startswith(self._own) or self._is_whole(info.key):
                yield info

    def _is_whole(self, key: str) -> bool:
        folder, _, name = key.rpartition("/")
        if name != self._last:
            return self._is_at_rest(key)
        others = list_files(self._folder, f"{folder}/", "", foreign=True)
        return all(self._is_at_rest(info.key) for info in others)

    def _is_at_rest(self, key: str) -> bool:
        try:
            changed_at = (self._folder / key).stat().st_ctime
        except OSError:  # gone, or behind a folder that was closed
            return False
        # A change to come is one of a clock that was set back meanwhile.
        return abs(self._clock() - changed_at) >= REST_S
