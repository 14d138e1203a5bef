"""Removes the ingest jobs of deleted channels: rows, digests, uploads and dropped files."""

from contextlib import suppress
from itertools import islice

from ingest_queue.jobs.digests import digests_folder
from ingest_queue.jobs.job import (
    ENDED,
    JOBS,
    RUNNING,
    Job,
    channel_key,
    fetch_partition,
    list_key,
    old_list_key,
    under_way_key,
)
from ingest_queue.jobs.keys import job_folder
from ingest_queue.jobs.ledger import FOLDERS
from ingest_queue.jobs.retired import RetiredFolders
from ingest_queue.jobs.waiting import forget_waiting, waiting_for
from ndlambda.batches import batched
from ndlambda.errors import PreconditionFailedError
from ndlambda.services.support.paging import delete_rows, rows_in
from ndlambda.stores.ports import MAX_DELETED, Delete, ObjectStore, Table
from ndlambda.stores.set_aside import SetAside

_MAX_DELETIONS = 10_000


class DeleteAtOnce:
    """Deletes the files of deleted channels instead of setting them aside (objects in a bucket).

    Parameters
    ----------
    drop
        The store of dropped files.
    """

    def __init__(self, drop: ObjectStore) -> None:
        self._drop = drop

    def set_aside(self, folder: str, name: str, before: float) -> str:
        """Delete what lies in a folder and was put before, and return that it is nowhere.

        Times of S3 are whole seconds: what was put in the second of the deletion is deleted.
        """
        del name
        old = (
            info.key
            for info in self._drop.list(folder)
            if info.modified_at is None or info.modified_at <= before
        )
        for some in batched(old, MAX_DELETED):
            self._drop.delete_many(some)
        return ""

    def remove(self, name: str) -> None:
        """Do nothing: nothing was set aside."""


class IngestErasure:
    """Removes the ingest jobs of deleted channels, and the folders of dropped files that fed them.

    Parameters
    ----------
    aside
        Takes dropped files out of their folders; by default they are deleted.
    max_deletions
        Bound on the rows or objects of one job removed in one run.
    """

    def __init__(
        self,
        table: Table,
        objects: ObjectStore,
        drop: ObjectStore,
        max_deletions: int = _MAX_DELETIONS,
        aside: SetAside | None = None,
    ) -> None:
        self._table = table
        self._objects = objects
        self._drop = drop
        self._max_deletions = max_deletions
        self._aside = aside or DeleteAtOnce(drop)
        self._retired = RetiredFolders(table)

    def retire_folders(self, uid: str, deleted_at: float) -> None:
        """Set aside the dropped files of a deleted channel, so that they never fill another.

        Until this is done, a folder stays bound to its job and begins no other. Idempotent. All
        folders are tried; then the first error is raised, if there was one.
        """
        failures = []
        partition, _ = channel_key(uid, "")
        for row in rows_in(self._table, partition):
            found = self._table.get(JOBS, row.sk)
            if found is None:
                continue
            try:
                self._retire(Job.from_row(found), deleted_at)
            except Exception as error:  # noqa: BLE001 - one folder must not stop the others
                failures.append(error)
        for waiting in waiting_for(self._table, uid):
            try:
                where = self._aside.set_aside(waiting.folder, uid, deleted_at)
                self._retired.record(waiting.folder, waiting.owner, uid, where)
                forget_waiting(self._table, waiting.folder)
            except Exception as error:  # noqa: BLE001 - likewise
                failures.append(error)
        if failures:
            raise failures[0]

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
        self._aside.remove(uid)
        self._retired.record_removed(uid)
        return True

    def _retire(self, job: Job, deleted_at: float) -> None:
        fed = self._table.get(FOLDERS, job.folder)
        if fed is None or fed.doc["job"] != job.id:
            return  # a job over HTTP, or the folder has begun another one since
        where = self._aside.set_aside(job.folder, job.channel_uid, deleted_at)
        self._retired.record(job.folder, fed.doc.get("owner"), job.channel_uid, where)
        with suppress(PreconditionFailedError):
            self._table.delete(FOLDERS, job.folder, fed.version)

    def _remove(self, job_id: str) -> bool:
        row = self._table.get(JOBS, job_id)
        if row is None:
            return True
        job = Job.from_row(row)
        fed = self._table.get(FOLDERS, job.folder)
        if fed is not None and fed.doc["job"] == job_id:
            return False  # begun by a process that read the channel before its deletion
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
        names = (
            *((RUNNING, job.id), (ENDED, job.id), (JOBS, job.id)),
            *(list_key(job), old_list_key(job), under_way_key(job.owner_id, job.id)),
        )
        self._table.transact([*(Delete(*name) for name in names), *job.listed.delete_actions()])

    def _remove_rows(self, partition: str) -> bool:
        return delete_rows(self._table, [partition], max_rows=self._max_deletions)

    def _remove_objects(self, store: ObjectStore, prefix: str) -> bool:
        keys = [info.key for info in islice(store.list(prefix), self._max_deletions)]
        store.delete_many(keys)
        return len(keys) < self._max_deletions
