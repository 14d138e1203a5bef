"""Deleting for good: the catalogue at once, the voxels behind it by a worker.

A process that read the catalogue just before a deletion may go on writing for as long as it
remembers the channel or its request lasts. So objects and index rows are walked twice: at once,
and again not before ``grace_s`` after the deletion; only then does the job end. Voxels written in
between are never seen by anybody, because a channel made anew has another uid in its keys.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from ndlambda.services.cascade import Cascade
from ndlambda.services.erase_jobs import LONGEST_DELAY_S, EraseJob, EraseJobs, EraseKind
from ndlambda.services.label_erasure import LabelErasure
from ndlambda.stores.ports import ObjectStore, Queue, Table

GRACE_S = 900.0
"""The longest that a Lambda function runs."""

_LISTED_AT_ONCE = 1000
_LISTINGS_A_RUN = 10


class Erasure:
    """Deletions and the worker that completes them.

    Parameters
    ----------
    table, objects, queue
        Where the catalogue, the voxels and the calls to the worker are.
    grace_s
        Seconds from a deletion to the last pass over its objects; longer than any writer lives.
    clock
        Unix seconds.
    """

    def __init__(
        self,
        table: Table,
        objects: ObjectStore,
        queue: Queue,
        *,
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._objects = objects
        self._grace_s = grace_s
        self._clock = clock
        self._jobs = EraseJobs(table, queue, clock)
        self._cascade = Cascade(table, self._jobs)
        self._labels = LabelErasure(table)

    @property
    def cascade(self) -> Cascade:
        """The deletions in the table, which leave jobs behind them."""
        return self._cascade

    def run(self, job_id: str) -> None:
        """Do what is left of a job; nothing where it is done. Harmless when repeated."""
        job = self._jobs.find(job_id)
        if job is None:
            return
        if job.kind is EraseKind.CHANNEL:
            self._erase_objects(job)
        else:
            self._cascade.finish(job)

    def resend_pending(self) -> int:
        """Call the worker to jobs whose call is overdue, and give how many.

        To be done every minute or so: a message may be lost, and a process may end between
        storing a job and calling for it.
        """
        return self._jobs.call_overdue()

    def _erase_objects(self, job: EraseJob) -> None:
        begun = self._clock()
        last_pass = job.deleted_at + self._grace_s
        if job.swept and begun < last_pass:
            if begun >= job.called_at:  # the delay of a message has a limit
                self._call_later(job, last_pass - begun)
        elif not (self._sweep(job.prefix) and self._labels.sweep(job.id)):
            self._jobs.call([job.id])
            self._jobs.note(replace(job, called_at=self._clock()))
        elif begun < last_pass:
            self._call_later(replace(job, swept=True), last_pass - self._clock())
        else:
            self._labels.end(job.id)
            self._jobs.end(job.id)

    def _call_later(self, job: EraseJob, delay_s: float) -> None:
        delay_s = min(max(delay_s, 0), LONGEST_DELAY_S)
        self._jobs.call([job.id], delay_s)
        self._jobs.note(replace(job, called_at=self._clock() + delay_s))

    def _sweep(self, prefix: str) -> bool:
        """Delete the objects under a prefix; False when there are too many for one run."""
        after = ""
        for _ in range(_LISTINGS_A_RUN):
            keys = [info.key for info in islice(self._objects.list(prefix, after), _LISTED_AT_ONCE)]
            for key in keys:
                self._objects.delete(key)
            if len(keys) < _LISTED_AT_ONCE:
                return True
            after = keys[-1]
        return False
