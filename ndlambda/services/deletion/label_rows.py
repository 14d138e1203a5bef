"""Removing a deleted channel's labels: the rows of its index, at last its counter of ids."""

from ndlambda.services.labels.ids import counter_key
from ndlambda.services.labels.index import SHARDS, partition
from ndlambda.stores.ports import MAX_TRANSACTION, Delete, Table

_PAGES_A_RUN = 100


class LabelErasure:
    """The rows of labels of deleted channels.

    Any writer that paints or makes objects moves a counter of ids before it enters anything, so a
    channel without its row has no others. It is deleted only when no writer is left: one that has
    begun does not move it again.

    Parameters
    ----------
    table
        Where the rows are.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def has_counter(self, uid: str) -> bool:
        """Return whether labels or objects were ever entered, and their sweeps have not ended."""
        return self._table.get(*counter_key(uid)) is not None

    def sweep(self, uid: str) -> bool:
        """Delete the rows of the index; False when there are too many for one run."""
        pages = 0
        for pk in (partition(uid, shard) for shard in range(SHARDS)):
            while rows := self._table.query(pk, limit=MAX_TRANSACTION).rows:
                if pages == _PAGES_A_RUN:
                    return False
                self._table.transact([Delete(row.pk, row.sk) for row in rows])
                pages += 1
        return True

    def end(self, uid: str) -> None:
        """Delete the counter, after the last sweep of labels and objects."""
        self._table.delete(*counter_key(uid))
