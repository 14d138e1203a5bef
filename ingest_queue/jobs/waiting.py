"""Folders of dropped slices that have no job yet, with the reason, for users to look up.

Rows: pk ``ingest#waiting``, sk the folder, doc ``why`` and ``since``; pk ``ingest#round``, sk
``drop``, doc ``after``: the position of the scan over all folders.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ndlambda.services.support.paging import rows_in
from ndlambda.stores.ports import Row, Table

_WAITING = "ingest#waiting"
_ROUND = ("ingest#round", "drop")


@dataclass(frozen=True, slots=True)
class WaitingFolder:
    """A folder without a job: what it waits for, or what is wrong with its manifest.

    Attributes
    ----------
    since
        Unix seconds at which the reason was first recorded.
    """

    folder: str
    why: str
    since: float


class WaitingFolders:
    """The list of folders without a job.

    Parameters
    ----------
    table
        Where the rows are.
    clock
        Unix seconds.
    """

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def record(self, folder: str, why: str) -> None:
        """Record a folder, or its new reason."""
        row = self._table.get(_WAITING, folder)
        if row is None or row.doc["why"] != why[:1000]:
            doc = {"why": why[:1000], "since": self._clock()}
            self._table.put(Row(_WAITING, folder, doc=doc))

    def remove(self, folder: str) -> None:
        """Remove a folder from the list."""
        if self._table.get(_WAITING, folder) is not None:
            self._table.delete(_WAITING, folder)

    @property
    def scan_position(self) -> str:
        """The key after which the scan of all folders continues; empty: from the start."""
        row = self._table.get(*_ROUND)
        return "" if row is None else str(row.doc["after"])

    @scan_position.setter
    def scan_position(self, after: str) -> None:
        self._table.put(Row(*_ROUND, doc={"after": after}))

    def all(self) -> Iterator[WaitingFolder]:
        """Iterate over the list by folder."""
        return map(_folder, rows_in(self._table, _WAITING))


def _folder(row: Row) -> WaitingFolder:
    return WaitingFolder(row.sk, row.doc["why"], row.doc["since"])
