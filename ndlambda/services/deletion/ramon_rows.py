"""Removing all RAMON objects of a channel that was deleted."""

from ndlambda.services.ramon import keys
from ndlambda.stores.ports import MAX_TRANSACTION, Delete, Table

_MOST_ROWS = 100 * MAX_TRANSACTION


def erase_channel(table: Table, uid: str, *, most_rows: int = _MOST_ROWS) -> bool:
    """Remove the rows of all objects of a deleted channel, and return whether none is left.

    It goes on where it was interrupted, since what is removed is not listed again.

    Parameters
    ----------
    table, uid
        The channel's rows.
    most_rows
        How many one call removes at most; call again after False.
    """
    left = most_rows
    for pk in keys.partitions(uid):
        while rows := table.query(pk, limit=MAX_TRANSACTION).rows:
            if left <= 0:
                return False
            table.transact([Delete(row.pk, row.sk) for row in rows])
            left -= len(rows)
    return True
