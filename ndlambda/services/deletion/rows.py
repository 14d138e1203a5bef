"""Deletes the rows of a deleted channel: propagation, label index, objects, and at last its ids.

Every writer that paints or stores objects changes the counter of ids before it adds a row, so a
channel without a counter has no rows of labels or objects. The counter is deleted only when no
writer is left: a running one does not change it again.
"""

from typing import Final

from ndlambda.services.labels import index
from ndlambda.services.labels.ids import counter_key
from ndlambda.services.propagation import rows as propagation
from ndlambda.services.propagation.jobs import PropagationJob
from ndlambda.services.ramon import keys
from ndlambda.services.support.paging import delete_rows
from ndlambda.stores.ports import MAX_TRANSACTION, Delete, Table

_MAX_ROWS: Final = 100 * MAX_TRANSACTION


def has_counter(table: Table, uid: str) -> bool:
    """Return whether a channel may have rows of labels or objects."""
    return table.get(*counter_key(uid)) is not None


def delete_counter(table: Table, uid: str) -> None:
    """Delete the counter of ids, after all labels and objects."""
    table.delete(*counter_key(uid))


def delete_label_index(table: Table, uid: str, *, max_rows: int = _MAX_ROWS) -> bool:
    """Delete about ``max_rows`` rows of the label index; return whether none is left."""
    partitions = [index.partition(uid, shard) for shard in range(index.SHARDS)]
    return delete_rows(table, partitions, max_rows=max_rows)


def delete_objects(table: Table, uid: str, *, max_rows: int = _MAX_ROWS) -> bool:
    """Delete about ``max_rows`` rows of RAMON objects; return whether none is left."""
    return delete_rows(table, keys.partitions(uid), max_rows=max_rows)


def delete_propagation(table: Table, uid: str, *, max_rows: int = _MAX_ROWS) -> bool:
    """Delete about ``max_rows`` rows of propagation; return whether none is left.

    The job is deleted first: workers and writers that do not find it add no more rows, and the last
    pass removes those of earlier ones.
    """
    row = table.get(*propagation.job_key(uid))
    if row is not None:
        job = PropagationJob.from_row(row)
        table.transact(
            [
                Delete(row.pk, row.sk),
                Delete(propagation.RUNNING, uid),
                *job.listed.delete_actions(),
            ]
        )
    return delete_rows(table, [propagation.partition(uid)], max_rows=max_rows)
