"""The jobs of erasing or relabelling, as rows; queue messages only wake the worker for them.

====================  ==========  ================================================================
pk                    sk          row
====================  ==========  ================================================================
``erase``             ``JOB``     the job, until nothing is left to do
``erase#JOB``         ``watch``   its watch chain
``erase#JOB``         ``record``  the job as it was listed; outlives it by 30 days
====================  ==========  ================================================================

Jobs that a worker has to do are in the list of jobs of all kinds. Those that their request does at
once, as most deletions of objects, are not: a worker that takes one over lists it.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ndlambda.batches import batched
from ndlambda.errors import InvalidStateError, PreconditionFailedError
from ndlambda.services.catalog import keys
from ndlambda.services.catalog.deletion_job import (
    MAX_DELAY_S,
    MAX_REASON_CHARS,
    OVERDUE_S,
    PARTITION,
    EraseJob,
    EraseKind,
    EraseMessage,
    EraseRecord,
    EraseState,
    chain_key,
    object_job_id,
    owner_key,
    record_key,
)
from ndlambda.services.jobs.index import KEPT_S
from ndlambda.services.support.paging import Key, rows_in
from ndlambda.services.support.watch import Chains, Look
from ndlambda.stores.ports import MAX_TRANSACTION, Delete, Put, Queue, Table


class EraseJobs:
    """The rows of jobs and the messages to the worker.

    Parameters
    ----------
    table, queue
        The stores of rows and messages.
    clock
        Unix seconds.
    """

    def __init__(self, table: Table, queue: Queue, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._queue = queue
        self._clock = clock
        self.chains = Chains(table, queue, chain_key, clock)

    def new(
        self,
        job_id: str,
        kind: EraseKind,
        name: str,
        resolution: int | None = None,
        others: Sequence[int] = (),
    ) -> EraseJob:
        """Return a new job; ``store_actions`` stores it."""
        now = self._clock()
        return EraseJob(job_id, kind, name, now, now, resolution=resolution, others=tuple(others))

    def store_actions(self, jobs: Sequence[EraseJob]) -> list[Put]:
        """Return an action for each job that stores it, for the transaction of its deletion.

        The watch chains begin here, so that no death of this process leaves a job alone.
        """
        self.chains.start([job.id for job in jobs])
        return [Put(job.row) for job in jobs]

    def put_actions(self, jobs: Sequence[EraseJob]) -> list[Put]:
        """Return the actions, at most ``ACTIONS_A_JOB`` each, that store and list jobs.

        See ``store_actions``.
        """
        self.chains.start([job.id for job in jobs])
        owners = {key: self._owner_of(key) for key in {owner_key(job) for job in jobs}}
        records = [EraseRecord(job, owners[owner_key(job)]) for job in jobs]
        return [
            action
            for record in records
            for action in (Put(replace(record.job, listed=True).row), *record.put_actions())
        ]

    def delete_action(self, job_id: str) -> Delete:
        """Return the action that ends a job."""
        return Delete(PARTITION, job_id)

    def find(self, job_id: str) -> EraseJob | None:
        """Return a job, None if it is done."""
        row = self._table.get(PARTITION, job_id)
        return None if row is None else EraseJob.from_row(row)

    def end(self, job_id: str) -> None:
        """End a completed job."""
        self._table.delete(PARTITION, job_id)

    def end_all(self, job_ids: Sequence[str]) -> None:
        """End completed jobs."""
        for batch in batched(job_ids, MAX_TRANSACTION):
            self._table.transact([self.delete_action(job_id) for job_id in batch])

    def find_record(self, job_id: str) -> EraseRecord | None:
        """Return a job as it was listed, None if it was not."""
        row = self._table.get(*record_key(job_id))
        return None if row is None else EraseRecord.from_row(row)

    def find_all(
        self, job_ids: Sequence[str]
    ) -> tuple[dict[str, EraseJob], dict[str, EraseRecord]]:
        """Return those of some jobs that are not done, and those that were listed, by id."""
        wanted = [key for job_id in job_ids for key in ((PARTITION, job_id), record_key(job_id))]
        rows = self._table.batch_get(wanted)
        jobs, records = dict[str, EraseJob](), dict[str, EraseRecord]()
        for (pk, sk), row in rows.items():
            if pk == PARTITION:
                jobs[sk] = EraseJob.from_row(row)
            else:
                record = EraseRecord.from_row(row)
                records[record.job.id] = record
        return jobs, records

    def settle_if_done(self, job_id: str) -> None:
        """Let the record of a job expire if that is completed."""
        if self._table.get(PARTITION, job_id) is None:
            self.settle(job_id)

    def settle(self, job_id: str) -> None:
        """Let the record of a completed job expire."""
        row = self._table.get(*record_key(job_id))
        if row is not None and row.expires is None:
            expires = math.ceil(self._clock() + KEPT_S)
            self._table.transact(EraseRecord.from_row(row).put_actions(expires))

    def retry(self, job_id: str) -> None:
        """Let a failed job go on where it stopped.

        Raises
        ------
        InvalidStateError
            It did not fail.
        """
        job = self.find(job_id)
        if job is None or job.state is not EraseState.FAILED:
            raise InvalidStateError("Only a failed job can be retried.", job=job_id)
        self.chains.restart(job_id)
        opened = replace(job, state=EraseState.OPEN, reason="", tries=0, waits=0)
        self._report(opened, self._clock())
        self.enqueue([job_id])

    def is_merging(self, channel_uid: str, label: int) -> bool:
        """Return whether voxels of an object are still being relabelled."""
        first = f"{object_job_id(channel_uid, label)}#merge#"
        return bool(self._table.query(PARTITION, first=first, last=f"{first}~", limit=1).rows)

    def enqueue(self, job_ids: Sequence[str], delay_s: float = 0, *, again: bool = False) -> None:
        """Enqueue jobs whose rows are stored."""
        if job_ids:
            bodies = [EraseMessage(job_id, again).body for job_id in job_ids]
            self._queue.send(bodies, delay_s=min(math.ceil(delay_s), MAX_DELAY_S))

    def begin_all(self, jobs: Sequence[EraseJob]) -> None:
        """Store and enqueue jobs that belong to no other transaction."""
        self.chains.start([job.id for job in jobs])
        for batch in batched(jobs, MAX_TRANSACTION):
            self._table.transact([Put(job.row) for job in batch])
        self.enqueue([job.id for job in jobs])

    def take(self, job_id: str, *, is_redelivery: bool) -> EraseJob | None:
        """Return an open job whose run begins now, None if there is nothing to run.

        No second worker is called for it within ``MAX_DELAY_S``, longer than any worker lives. A
        run that was begun before and never reported its end counts as a try, if this one was called
        because of that.
        """
        row = self._table.get(PARTITION, job_id)
        if row is None:
            return None
        job = EraseJob.from_row(row)
        if job.state is not EraseState.OPEN:
            return None
        tries = job.tries + (job.begun and is_redelivery)
        due = self._clock() + MAX_DELAY_S
        begun = replace(
            job, begun=True, listed=True, tries=tries, called_at=max(due, job.called_at)
        )
        self._put_if_unchanged(begun, row.version, [] if job.listed else self._list_actions(job))
        return replace(begun, called_at=job.called_at)

    def enqueue_later(self, job: EraseJob, delay_s: float) -> None:
        """Store and enqueue a job after a delay, at most ``MAX_DELAY_S``; its run has ended."""
        delay_s = min(max(delay_s, 0), MAX_DELAY_S)
        self.enqueue([job.id], delay_s)
        self._report(job, self._clock() + delay_s)

    def go_on(self, job: EraseJob) -> None:
        """Store and enqueue a job whose run came as far as one run goes."""
        self.enqueue_later(replace(job, tries=0, waits=0), 0)

    def wait(self, job: EraseJob) -> None:
        """Store a job of which nothing is to be done before it is due; its run has ended."""
        self._report(job, job.called_at)

    def fail(self, job: EraseJob, reason: str) -> None:
        """Mark a job as failed, until a person retries it."""
        failed = replace(job, state=EraseState.FAILED, reason=reason[:MAX_REASON_CHARS])
        self._report(failed, self._clock())

    def look_after(self, job_id: str) -> Look:
        """Re-enqueue a job that is overdue."""
        row = self._table.get(PARTITION, job_id)
        if row is None:
            self.settle(job_id)
            return Look.ENDED
        job = EraseJob.from_row(row)
        if job.state is not EraseState.OPEN:
            return Look.ENDED
        now = self._clock()
        if now - job.called_at < OVERDUE_S:
            return Look.RESTS
        self.enqueue([job_id], again=True)
        self._put_if_unchanged(replace(job, called_at=now), row.version)
        return Look.MOVES

    def sweep(self) -> int:
        """Look after the open jobs whose watch chains stand still; return their number."""
        rows = rows_in(self._table, PARTITION)
        return sum(self.chains.take_over(row.sk, self.look_after) for row in rows)

    def _report(self, job: EraseJob, called_at: float) -> None:
        """Store a job, unless it is done, as due at a time and not being run."""
        row = self._table.get(PARTITION, job.id)
        if row is not None:
            self._put_if_unchanged(replace(job, begun=False, called_at=called_at), row.version)

    def _put_if_unchanged(self, job: EraseJob, version: int, also: Sequence[Put] = ()) -> None:
        try:
            self._table.transact([Put(job.row, expect=version), *also])
        except PreconditionFailedError:
            # Ended or changed by another worker.
            return

    def _list_actions(self, job: EraseJob) -> list[Put]:
        """Return the actions that list a job, at its old place if it was listed before."""
        known = self.find_record(job.id)
        return (known or EraseRecord(job, self._owner_of(owner_key(job)))).put_actions()

    def _owner_of(self, key: Key) -> int | None:
        row = self._table.get(*key)
        return None if row is None else keys.owner_of(row)
