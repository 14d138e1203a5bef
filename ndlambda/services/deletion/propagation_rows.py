"""Removing a deleted channel's propagation: its job, its tasks, its marks."""

from ndlambda.services.propagation.rows import RUNNING, job_key, partition
from ndlambda.stores.ports import MAX_TRANSACTION, Delete, Table

_PAGES_A_RUN = 100


class PropagationErasure:
    """The rows that writers and workers left of channels that are no more.

    Parameters
    ----------
    table
        Where they are.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def sweep(self, uid: str) -> bool:
        """Delete rows; False when there are too many for one run.

        The job goes first: workers and writers that do not find it add nothing more, and those that
        did before are behind the last sweep.
        """
        for pk, sk in (job_key(uid), (RUNNING, uid)):
            self._table.delete(pk, sk)
        pk = partition(uid)
        for _ in range(_PAGES_A_RUN):
            rows = self._table.query(pk, limit=MAX_TRANSACTION).rows
            if not rows:
                return True
            self._table.transact([Delete(row.pk, row.sk) for row in rows])
        return False
