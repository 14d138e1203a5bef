"""Removing a deleted channel's rows: of its labels and objects, at last its counter of ids."""

from ndlambda.services.label_ids import counter_key
from ndlambda.services.label_index import SHARDS, partition
from ndlambda.services.ramon_erasure import erase_channel
from ndlambda.stores.ports import MAX_TRANSACTION, Delete, Table

_PAGES_A_RUN = 100


class LabelErasure:
    """The rows of labels and objects of channels that are no more.

    Whoever paints or makes objects moves a counter of ids before entering anything, so a channel
    without their row has no others. It goes only when nobody can be writing any more: one that has
    begun does not move them again.

    Parameters
    ----------
    table
        Where the rows are.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def sweep(self, uid: str) -> bool:
        """Delete all rows but the counter; False when there are too many for one run."""
        if self._table.get(*counter_key(uid)) is None:
            return True
        pages = 0
        for pk in (partition(uid, shard) for shard in range(SHARDS)):
            while rows := self._table.query(pk, limit=MAX_TRANSACTION).rows:
                if pages == _PAGES_A_RUN:
                    return False
                self._table.transact([Delete(row.pk, row.sk) for row in rows])
                pages += 1
        return erase_channel(self._table, uid, most_rows=_PAGES_A_RUN * MAX_TRANSACTION)

    def end(self, uid: str) -> None:
        """Delete the counter, after the last sweep."""
        self._table.delete(*counter_key(uid))
