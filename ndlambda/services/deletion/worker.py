"""Completes deletions: the catalogue is changed at once, voxels are deleted by this worker.

A run that fails is repeated after a pause; a job that fails too often, or whose workers die too
often, is given up with the reason until a person retries it. The messages of both are consumed.

A process that read the catalogue just before a deletion may continue to write for as long as it
caches the channel or its request lasts. So objects and index rows are deleted in two passes: at
once, and again not earlier than ``grace_s`` after the deletion; only then does the job end. Voxels
written in between are never visible, as a new channel of the same name has another uid in its keys.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import assert_never

from ndlambda import deadline
from ndlambda.errors import DeadlineExceededError
from ndlambda.services.catalog.cascade import Cascade
from ndlambda.services.catalog.deletion_job import MAX_WAITS, EraseJob, EraseKind, read_message
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.deletion import rows
from ndlambda.services.support.tries import MAX_TRIES, pause_s, reason_of, why_unfinished
from ndlambda.services.support.watch import WatchMessage
from ndlambda.stores.ports import MAX_DELETED, ObjectStore, Table

GRACE_S = 900.0
"""The maximum run time of a Lambda function."""

_OBJECTS_A_LISTING = MAX_DELETED
_LISTINGS_A_RUN = 10

_log = logging.getLogger("ndlambda.deletion")


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

    def handle(self, body: str, receive_count: int = 1) -> None:
        """Handle a message of the queue: run its job, or look after it.

        Parameters
        ----------
        receive_count
            The number of this delivery, from 1.

        Raises
        ------
        MalformedBodyError
            The text is no message of a deletion.
        """
        watch = WatchMessage.find(body)
        if watch is not None:
            self._jobs.chains.receive(watch, receive_count, self._jobs.look_after)
            return
        message = read_message(body)
        self.run(message.job_id, is_redelivery=message.again or receive_count > 1)

    def run(self, job_id: str, *, is_redelivery: bool = False) -> None:
        """Run a job, if it is not done or given up; idempotent.

        Parameters
        ----------
        is_redelivery
            Whether it was called for before without success.
        """
        job = self._jobs.take(job_id, is_redelivery=is_redelivery)
        if job is None:
            self._jobs.settle_if_done(job_id)
            return
        if job.tries >= MAX_TRIES:
            self._jobs.fail(job, why_unfinished("it", job.tries))
            return
        try:
            self._run(job)
            self._jobs.settle_if_done(job_id)
        except DeadlineExceededError as error:
            with deadline.written_down():
                self._continue_later(job, error)
        except Exception as error:  # noqa: BLE001 - recorded in the job's row
            _log.exception("the run of deletion job %s failed", job_id)
            self._record_failure(job, error)

    def sweep(self) -> int:
        """Look after the jobs whose watch chains stand still; return their number."""
        return self._jobs.sweep()

    def _run(self, job: EraseJob) -> None:
        match job.kind:
            case EraseKind.CHANNEL:
                self._erase_channel(job)
            case EraseKind.OBJECT | EraseKind.MERGE:
                self._erase_object(job)
            case EraseKind.DATASET | EraseKind.PROJECT:
                self._cascade.finish(job)
            case _:
                assert_never(job.kind)

    def _continue_later(self, job: EraseJob, error: DeadlineExceededError) -> None:
        """Enqueue a job that goes on from what is stored; one whose time is never enough fails."""
        now = replace(self._jobs.find(job.id) or job, waits=job.waits + 1, tries=0)
        if now.waits >= MAX_WAITS:
            self._jobs.fail(now, reason_of(error))
        else:
            self._jobs.enqueue_later(now, 0)

    def _record_failure(self, job: EraseJob, error: Exception) -> None:
        """Repeat a job after a pause, or give it up."""
        now = replace(self._jobs.find(job.id) or job, tries=job.tries + 1)
        if now.tries >= MAX_TRIES:
            self._jobs.fail(now, reason_of(error))
        else:
            self._jobs.enqueue_later(now, pause_s(now.tries))

    def _erase_channel(self, job: EraseJob) -> None:
        begun = self._clock()
        last_pass = job.deleted_at + self._grace_s
        failures = self._run_first_steps(job)
        if job.swept and begun < last_pass:
            if begun >= job.called_at:  # a message cannot be delayed until the last pass
                self._jobs.enqueue_later(job, last_pass - begun)
            else:
                self._jobs.wait(job)
        elif not (
            rows.delete_propagation(self._table, job.id)
            and self._delete_voxels(job.prefix)
            and self._delete_labels(job.id)
        ):
            self._jobs.go_on(job)
            return  # that run tries the first steps again
        elif begun < last_pass:
            swept = replace(job, swept=True, tries=0)
            self._jobs.enqueue_later(swept, last_pass - self._clock())
        elif failures:
            pass  # the job runs again, as the error is raised
        elif not all(sweep(job.id) for sweep in self._final_sweeps):
            self._jobs.go_on(job)
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
