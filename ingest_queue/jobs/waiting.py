"""Folders of dropped slices that have no job yet, with the reason, for users to look up.

Rows: pk ``ingest#waiting``, sk the folder, doc ``why``, ``since`` and, if its channel exists,
``uid`` (of the channel) and ``owner`` (of the project), which it stays bound to; pk
``ingest#round``, sk
``drop``, doc ``after``: the position of the scan over all folders; pk ``ingest#waiting#watch``, sk
the folder: its watch chain.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ndlambda.services.support.paging import prefixed, rows_in
from ndlambda.services.support.watch import Chains
from ndlambda.stores.ports import Queue, Row, Table

_MAX_RESTS = 8
"""Looks in a row after which a folder is left to the daily sweep: about an hour and a quarter."""

_WAITING = "ingest#waiting"
_ROUND = ("ingest#round", "drop")


@dataclass(frozen=True, slots=True)
class WaitingFolder:
    """A folder without a job: what it waits for, or what is wrong with its manifest.

    Attributes
    ----------
    since
        Unix seconds at which the reason was first recorded.
    uid, owner
        The channel that it was dropped for, and the owner of the project; empty and None if there
        was none of its name yet.
    """

    folder: str
    why: str
    since: float
    uid: str = ""
    owner: int | None = None


def waiting_for(table: Table, uid: str) -> list[WaitingFolder]:
    """Return the folders that were dropped for a channel and have no job yet."""
    return [found for row in rows_in(table, _WAITING) if (found := _folder(row)).uid == uid]


def forget_waiting(table: Table, folder: str) -> None:
    """Remove a folder from the list."""
    table.delete(_WAITING, folder)


class WaitingFolders:
    """The list of folders without a job.

    Parameters
    ----------
    table
        Where the rows are.
    queue
        Takes the watch messages.
    clock
        Unix seconds.
    """

    def __init__(self, table: Table, queue: Queue, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock
        self.chains = Chains(table, queue, _chain_key, clock, _MAX_RESTS)

    def record(self, folder: str, why: str, bound: tuple[str, int | None] = ("", None)) -> None:
        """Record a folder, or its new reason.

        Parameters
        ----------
        bound
            Channel uid and owner of the project that it leads to; those that were recorded before
            stay.
        """
        row = self._table.get(_WAITING, folder)
        known = None if row is None else _folder(row)
        if known is None:
            self.chains.restart(folder)
        elif known.uid:
            bound = known.uid, known.owner
        new = WaitingFolder(folder, why[:1000], self._clock(), *bound)
        if known is None or (known.why, known.uid) != (new.why, new.uid):
            self._table.put(_row(new))

    def find(self, folder: str) -> WaitingFolder | None:
        """Return a folder, None if it does not wait."""
        row = self._table.get(_WAITING, folder)
        return None if row is None else _folder(row)

    def remove(self, folder: str) -> None:
        """Remove a folder from the list."""
        if self._table.get(_WAITING, folder) is not None:
            self._table.delete(_WAITING, folder)

    def has(self, folder: str) -> bool:
        """Return whether a folder waits."""
        return self._table.get(_WAITING, folder) is not None

    def under(self, prefix: str, most: int) -> list[str]:
        """Return the waiting folders under a prefix, at most ``most``."""
        first, last = prefixed(prefix)
        page = self._table.query(_WAITING, first=first, last=last, limit=most)
        return [row.sk for row in page.rows]

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


def _chain_key(folder: str) -> tuple[str, str]:
    return f"{_WAITING}#watch", folder


def _folder(row: Row) -> WaitingFolder:
    return WaitingFolder(row.sk, **row.doc)


def _row(waiting: WaitingFolder) -> Row:
    doc: dict[str, Any] = {"why": waiting.why, "since": waiting.since}
    if waiting.uid:
        doc |= {"uid": waiting.uid, "owner": waiting.owner}
    return Row(_WAITING, waiting.folder, doc=doc)
