"""Completes deletions: the catalogue is changed at once, voxels are deleted by this worker.

A process that read the catalogue just before a deletion may continue to write for as long as it
caches the channel or its request lasts. So objects and index rows are deleted in two passes: at
once, and again not earlier than ``grace_s`` after the deletion; only then does the job end. Voxels
written in between are never visible, as a new channel of the same name has another uid in its keys.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import assert_never

from ndlambda.services.catalog.cascade import Cascade
from ndlambda.services.catalog.deletion_jobs import (
    MAX_DELAY_S,
    EraseJob,
    EraseJobs,
    EraseKind,
)
from ndlambda.services.deletion import rows
from ndlambda.stores.ports import MAX_DELETED, ObjectStore, Table

GRACE_S = 900.0
"""The maximum run time of a Lambda function."""

_OBJECTS_A_LISTING = MAX_DELETED
_LISTINGS_A_RUN = 10


class Erasure:
    """The worker that completes deletions.

    Parameters
    ----------
    table, objects
        The stores of rows and voxels.
    jobs
        The jobs of deletions.
    erase_object
        Runs a job of kind ``OBJECT`` or ``MERGE`` (``ObjectWorker.run``).
    grace_s
        Seconds from a deletion to the last pass over its objects; longer than any writer lives.
    clock
        Unix seconds.
    """

    def __init__(
        self,
        table: Table,
        objects: ObjectStore,
        jobs: EraseJobs,
        erase_object: Callable[[EraseJob], None],
        *,
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._objects = objects
        self._grace_s = grace_s
        self._clock = clock
        self._jobs = jobs
        self._erase_object = erase_object
        self._cascade = Cascade(table, jobs)
        self._first_steps: list[Callable[[str, float], object]] = []
        self._final_sweeps: list[Callable[[str], bool]] = []

    def add_first(self, step: Callable[[str, float], object]) -> None:
        """Add an idempotent step that begins every pass over a channel.

        It is given the channel's uid and the Unix seconds of its deletion. Where it fails, voxels
        are deleted all the same, but the job does not end.
        """
        self._first_steps.append(step)

    def add_last(self, sweep: Callable[[str], bool]) -> None:
        """Add a sweep of the data that higher layers keep of a channel, given its uid.

        It is called when no writer can be left, until it returns True.
        """
        self._final_sweeps.append(sweep)

    def run(self, job_id: str) -> None:
        """Run a job, if it is not done; idempotent."""
        job = self._jobs.find(job_id)
        if job is None:
            return
        match job.kind:
            case EraseKind.CHANNEL:
                self._erase_channel(job)
            case EraseKind.OBJECT | EraseKind.MERGE:
                self._erase_object(job)
            case EraseKind.DATASET | EraseKind.PROJECT:
                self._cascade.finish(job)
            case _:
                assert_never(job.kind)

    def resend_pending(self) -> int:
        """Re-enqueue stale jobs; return their number.

        To be called every minute or so: messages may be lost, and a process may die between
        storing and enqueueing a job.
        """
        return self._jobs.requeue_stale()

    def _erase_channel(self, job: EraseJob) -> None:
        begun = self._clock()
        last_pass = job.deleted_at + self._grace_s
        waits = job.swept and begun < last_pass
        if not waits:
            # No worker lives longer, so no second one joins in while this one lives.
            self._jobs.postpone(job, MAX_DELAY_S)
        failures = self._run_first_steps(job)
        if waits:
            if begun >= job.called_at:  # a message cannot be delayed until the last pass
                self._jobs.enqueue_later(job, last_pass - begun)
        elif not (
            rows.delete_propagation(self._table, job.id)
            and self._delete_voxels(job.prefix)
            and self._delete_labels(job.id)
        ):
            self._jobs.enqueue_later(job, 0)
            return  # that run tries the first steps again
        elif begun < last_pass:
            self._jobs.enqueue_later(replace(job, swept=True), last_pass - self._clock())
        elif failures:
            pass  # the message comes again, as the error is raised
        elif not all(sweep(job.id) for sweep in self._final_sweeps):
            self._jobs.enqueue_later(job, 0)
        else:
            rows.delete_counter(self._table, job.id)
            self._jobs.end(job.id)
        if failures:
            raise failures[0]

    def _run_first_steps(self, job: EraseJob) -> list[Exception]:
        """Run all first steps; return the errors of those that failed."""
        failures = []
        for step in self._first_steps:
            try:
                step(job.id, job.deleted_at)
            except Exception as error:  # noqa: BLE001 - raised when the voxels are deleted
                failures.append(error)
        return failures

    def _delete_labels(self, uid: str) -> bool:
        """Delete the rows of labels and objects; return False if a further run is needed."""
        if not rows.has_counter(self._table, uid):
            return True
        return rows.delete_label_index(self._table, uid) and rows.delete_objects(self._table, uid)

    def _delete_voxels(self, prefix: str) -> bool:
        """Delete the objects under a prefix; return False if a further run is needed."""
        after = ""
        for _ in range(_LISTINGS_A_RUN):
            found = islice(self._objects.list(prefix, after), _OBJECTS_A_LISTING)
            keys = [info.key for info in found]
            self._objects.delete_many(keys)
            if len(keys) < _OBJECTS_A_LISTING:
                return True
            after = keys[-1]
        return False
