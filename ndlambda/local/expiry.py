"""Emulates the bucket's lifecycle rule by which results and uploads expire."""

import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from ndlambda.services.volume import results, transfers
from ndlambda.stores.ports import ObjectStore

EXPIRES_S: Final = 24 * 3600
_MAX_DELETIONS: Final = 1000


class Expiry:
    """Deletes objects under ``results/`` and ``uploads/`` that are older than a day.

    Parameters
    ----------
    folder
        Root folder of the object store, from which ages are read.
    objects
        The store that deletes the objects.
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
        """Delete some expired objects, and return their number; 0 if none is left."""
        expired = list(islice(self._expired(), _MAX_DELETIONS))
        self._objects.delete_many(expired)
        return len(expired)

    def _expired(self) -> Iterator[str]:
        before = self._clock() - EXPIRES_S
        for prefix in (results.PREFIX, transfers.PREFIX):
            try:
                entries = os.scandir(self._folder / prefix)
            except FileNotFoundError:
                continue
            with entries:
                for entry in entries:
                    if _is_older(entry, before):
                        yield prefix + entry.name


def _is_older(entry: os.DirEntry[str], before: float) -> bool:
    """Return whether an entry is a file written before a time."""
    try:
        return entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < before
    except FileNotFoundError:  # deleted since it was listed
        return False
