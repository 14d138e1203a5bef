"""The laptop's stand-in for the bucket's rule that lets large results and uploads expire."""

import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from ndlambda.services.volume import transfers
from ndlambda.stores.ports import ObjectStore
from ndlambda.web.response.delivery import RESULTS_PREFIX

EXPIRES_S: Final = 24 * 3600
_AT_ONCE: Final = 1000


class Expiry:
    """Deletes what lies under ``results/`` and ``uploads/`` for more than a day.

    Parameters
    ----------
    folder
        Where the store of objects keeps its files, for a look at their age.
    objects
        That store, which deletes them.
    clock
        Unix seconds.
    """

    def __init__(
        self, folder: Path, objects: ObjectStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._objects = objects
        self._clock = clock

    def sweep(self) -> int:
        """Delete a number of files, and return how many; 0: none is left that has expired."""
        expired = list(islice(self._expired(), _AT_ONCE))
        for key in expired:
            self._objects.delete(key)
        return len(expired)

    def _expired(self) -> Iterator[str]:
        before = self._clock() - EXPIRES_S
        for prefix in (RESULTS_PREFIX, transfers.PREFIX):
            try:
                entries = os.scandir(self._folder / prefix)
            except FileNotFoundError:
                continue
            with entries:
                for entry in entries:
                    if _is_older(entry, before):
                        yield prefix + entry.name


def _is_older(entry: os.DirEntry[str], before: float) -> bool:
    """Return whether a file was written before a time; a folder is no result of ours."""
    try:
        return entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < before
    except FileNotFoundError:  # used and deleted since it was listed
        return False
