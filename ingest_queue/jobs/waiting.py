"""Folders of dropped slices that are no job yet, and why: people look here first.

Rows: pk ``ingest#waiting``, sk the folder, doc ``why`` and ``since``; pk ``ingest#round``, sk
``drop``, doc ``after``: how far the look at all folders is.
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
    """A folder that is no job yet: what it waits for, or what is wrong with its manifest.

    Attributes
    ----------
    since
        Unix seconds at which this was first so.
    """

    folder: str
    why: str
    since: float


class WaitingFolders:
    """The list of folders that are no jobs yet.

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

    def note(self, folder: str, why: str) -> None:
        """Enter a folder, or another reason."""
        row = self._table.get(_WAITING, folder)
        if row is None or row.doc["why"] != why[:1000]:
            doc = {"why": why[:1000], "since": self._clock()}
            self._table.put(Row(_WAITING, folder, doc=doc))

    def forget(self, folder: str) -> None:
        """Take a folder from the list."""
        if self._table.get(_WAITING, folder) is not None:
            self._table.delete(_WAITING, folder)

    @property
    def round_at(self) -> str:
        """The key behind which the look at all folders goes on; empty: it begins anew."""
        row = self._table.get(*_ROUND)
        return "" if row is None else str(row.doc["after"])

    @round_at.setter
    def round_at(self, after: str) -> None:
        self._table.put(Row(*_ROUND, doc={"after": after}))

    def all(self) -> Iterator[WaitingFolder]:
        """Iterate over the list by folder."""
        return map(_folder, rows_in(self._table, _WAITING))


def _folder(row: Row) -> WaitingFolder:
    return WaitingFolder(row.sk, row.doc["why"], row.doc["since"])
