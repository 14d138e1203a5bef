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
from typing import assert_never

from ndlambda.services.catalog.cascade import Cascade
from ndlambda.services.catalog.deletion_jobs import EraseJob, EraseJobs, EraseKind
from ndlambda.services.deletion.label_rows import LabelErasure
from ndlambda.services.deletion.propagation_rows import PropagationErasure
from ndlambda.services.deletion.ramon_rows import erase_channel
from ndlambda.stores.ports import ObjectStore, Table

GRACE_S = 900.0
"""The longest that a Lambda function runs."""

_LISTED_AT_ONCE = 1000
_LISTINGS_A_RUN = 10


class Erasure:
    """The worker that completes deletions.

    Parameters
    ----------
    table, objects
        Where the catalogue and the voxels are.
    jobs
        What is still to be erased.
    erase_object
        Does a job of kind ``OBJECT`` or ``MERGE`` (``ObjectWorker.run``).
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
        self._labels = LabelErasure(table)
        self._propagation = PropagationErasure(table)
        self._last: list[Callable[[str], bool]] = []

    def add_last(self, sweep: Callable[[str], bool]) -> None:
        """Add what removes what rooms above keep of a channel, given its uid.

        It is called when nobody can be writing any more, until it gives True.
        """
        self._last.append(sweep)

    def run(self, job_id: str) -> None:
        """Do what is left of a job; nothing where it is done. Harmless when repeated."""
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
        """Call the worker to jobs whose call is overdue, and return how many.

        To be done every minute or so: a message may be lost, and a process may end between
        storing a job and calling for it.
        """
        return self._jobs.call_overdue()

    def _erase_channel(self, job: EraseJob) -> None:
        begun = self._clock()
        last_pass = job.deleted_at + self._grace_s
        if job.swept and begun < last_pass:
            if begun >= job.called_at:  # the delay of a message has a limit
                self._jobs.call_later(job, last_pass - begun)
        elif not (
            self._propagation.sweep(job.id)
            and self._sweep(job.prefix)
            and self._sweep_labels(job.id)
        ):
            self._jobs.call_later(job, 0)
        elif begun < last_pass:
            self._jobs.call_later(replace(job, swept=True), last_pass - self._clock())
        elif not all(sweep(job.id) for sweep in self._last):
            self._jobs.call_later(job, 0)
        else:
            self._labels.end(job.id)
            self._jobs.end(job.id)

    def _sweep_labels(self, uid: str) -> bool:
        """Delete the rows of labels and objects; False when there are too many for one run."""
        if not self._labels.has_counter(uid):
            return True  # neither labels nor objects were ever entered
        return self._labels.sweep(uid) and erase_channel(self._table, uid)

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
