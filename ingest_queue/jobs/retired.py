"""Folders of dropped files whose channel was deleted.

Such a folder never fills another channel with what lay in it: its content is set aside, and what is
dropped later begins a job only for the owner of the deleted channel.

Rows: pk ``ingest#deleted``, sk the folder, doc ``owner`` (of the project; null if unknown), ``uid``
of the deleted channel, ``where`` the content is (empty: nowhere any more) and ``since``.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ndlambda.services.support.paging import rows_in
from ndlambda.stores.ports import Row, Table

_RETIRED = "ingest#deleted"


@dataclass(frozen=True, slots=True)
class RetiredFolder:
    """A folder of a deleted channel; see the rows of this module."""

    folder: str
    owner: int | None
    uid: str
    where: str
    since: float


class RetiredFolders:
    """The list of folders of deleted channels.

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

    def record(self, folder: str, owner: int | None, uid: str, where: str) -> None:
        """Record a folder whose content was set aside."""
        self._put(RetiredFolder(folder, owner, uid, where, self._clock()))

    def find(self, folder: str) -> RetiredFolder | None:
        """Return a folder, None if none of its channels was deleted."""
        row = self._table.get(_RETIRED, folder)
        return None if row is None else _retired(row)

    def record_removed(self, uid: str) -> None:
        """Record that nothing is left of what was set aside for a channel."""
        for each in list(self.set_aside()):
            if each.uid == uid:
                self._put(replace(each, where=""))

    def set_aside(self) -> Iterator[RetiredFolder]:
        """Iterate over the folders whose content is still there, by folder."""
        return (each for each in map(_retired, rows_in(self._table, _RETIRED)) if each.where)

    def _put(self, each: RetiredFolder) -> None:
        doc = {name: getattr(each, name) for name in ("owner", "uid", "where", "since")}
        self._table.put(Row(_RETIRED, each.folder, doc=doc))


def _retired(row: Row) -> RetiredFolder:
    return RetiredFolder(row.sk, **row.doc)
