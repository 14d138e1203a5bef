"""Removes the ingest jobs of deleted channels: rows, digests and uploads."""

from contextlib import suppress
from itertools import islice

from ingest_queue.jobs.digests import digests_folder
from ingest_queue.jobs.job import ENDED, JOBS, RUNNING, Job, channel_key, fetch_partition, list_key
from ingest_queue.jobs.keys import job_folder
from ingest_queue.jobs.ledger import FOLDERS
from ndlambda.errors import PreconditionFailedError
from ndlambda.services.support.paging import delete_rows, rows_in
from ndlambda.stores.ports import Delete, ObjectStore, Table

_MAX_DELETIONS = 10_000


class IngestErasure:
    """Removes the ingest jobs of deleted channels; files in drop folders stay.

    Parameters
    ----------
    max_deletions
        Bound on the rows or objects of one job removed in one run.
    """

    def __init__(
        self,
        table: Table,
        objects: ObjectStore,
        drop: ObjectStore,
        max_deletions: int = _MAX_DELETIONS,
    ) -> None:
        self._table = table
        self._objects = objects
        self._drop = drop
        self._max_deletions = max_deletions

    def sweep(self, uid: str) -> bool:
        """Remove the jobs of a channel that has no writers any more.

        Returns False if there is too much for one run. A job stays listed until nothing of it is
        left, so that another worker continues after a crash.
        """
        partition, _ = channel_key(uid, "")
        for row in rows_in(self._table, partition):
            if not self._remove(row.sk):
                return False
            self._table.delete(partition, row.sk)
        return True

    def _remove(self, job_id: str) -> bool:
        row = self._table.get(JOBS, job_id)
        if row is None:
            return True
        job = Job.from_row(row)
        partitions = [fetch_partition(job, n) for n in range(1, job.generation + 1)]
        if not (
            all(map(self._remove_rows, (job.partition, *partitions)))
            and self._remove_objects(self._objects, digests_folder(job_id))
            and self._remove_objects(self._drop, job_folder(job_id))
        ):
            return False
        self._remove_names(job)
        return True

    def _remove_names(self, job: Job) -> None:
        """Remove the rows that list a job."""
        fed = self._table.get(FOLDERS, job.folder)
        if fed is not None and fed.doc["job"] == job.id:
            with suppress(PreconditionFailedError):  # it feeds a new job now
                self._table.delete(FOLDERS, job.folder, fed.version)
        names = ((RUNNING, job.id), (ENDED, job.id), list_key(job.owner_id, job.id), (JOBS, job.id))
        self._table.transact([Delete(*name) for name in names])

    def _remove_rows(self, partition: str) -> bool:
        return delete_rows(self._table, [partition], max_rows=self._max_deletions)

    def _remove_objects(self, store: ObjectStore, prefix: str) -> bool:
        keys = [info.key for info in islice(store.list(prefix), self._max_deletions)]
        for key in keys:
            store.delete(key)
        return len(keys) < self._max_deletions
