"""What messages did not bring about: found by comparing what is there with what is written down."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Protocol

from ingest_queue.build.builder import ChunkBuilder
from ingest_queue.build.ended import EndedJobs
from ingest_queue.build.parts_registry import MOST_CALLS, PartRegistry
from ingest_queue.jobs.job import Job
from ingest_queue.jobs.ledger import Ledger
from ingest_queue.jobs.target import Target
from ndlambda.errors import InvalidStateError
from ndlambda.services.catalog.service import Catalog

_log = logging.getLogger("ndlambda.ingest")

_CALLS_IN_PROGRESS = 100
"""Chunks that are called for again while others get built: their messages may just be waiting."""

OVERDUE_S = 120.0
"""Seconds without any progress after which calls count as another try.

After ``tries.MOST_TRIES`` of them the first one is older than a Lambda may become.
"""


class EnqueueChunks(Protocol):
    """Wakes builders for chunks of a job."""

    def __call__(self, job: Job, chunks: Sequence[int], attempt: int = 1) -> None:
        """Send the messages; more than one ``attempt`` where a try came to no end."""
        ...


class Sweeper:
    """Carries jobs on after lost messages and dead processes; harmless at any time.

    Parameters
    ----------
    ledger, catalog
        Where jobs and channels are.
    intake, builder, call
        Do what was not done.
    ended
        Removes what jobs have left.
    """

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        intake: PartRegistry,
        builder: ChunkBuilder,
        call: EnqueueChunks,
        ended: EndedJobs,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._intake = intake
        self._builder = builder
        self._call = call
        self._ended = ended

    def sweep_all(self) -> int:
        """Sweep every job that has not ended, and return how many these are.

        What is wrong with one of them (a store that failed just now, a fault of ours) does not
        keep the others.
        """
        jobs = list(self._ledger.running())
        for job in jobs:
            try:
                self.sweep(job)
            except Exception:  # noqa: BLE001 - whatever is wrong with one job is not with others
                _log.exception("ingest job %s could not be swept; later again", job.id)
        self._ended.sweep()
        return len(jobs)

    def sweep(self, job: Job) -> None:
        """Enter what lies in the job's folder unseen, call for what is whole, end what is done."""
        if not job.state.takes_input:
            self._builder.follow_up(job)
            return
        try:
            grid = Target.of(job, self._catalog).grid(job)
        except InvalidStateError as error:
            self._builder.fail(job, error.message)
            return
        if self._intake.enter_unseen(job):
            self._intake.close(self._ledger.get(job.id))
        job = self._ledger.get(job.id)
        if not job.state.takes_input:
            return
        tree = self._ledger.built(job, grid.count)
        entered = set(tree.entered())
        built = 0
        ready: set[int] = set()
        for number, state in self._ledger.states(job):
            built += state.built
            if state.built and number in entered:
                continue
            if state.built or job.closed or state.is_ready(grid.chunk(number)):
                ready.add(number)
        absent = (number for number in tree.missing() if number not in ready) if job.closed else ()
        now, goes_on = self._ledger.now(), built != job.swept
        is_overdue = not goes_on and now - job.beat_at >= OVERDUE_S
        most = _CALLS_IN_PROGRESS if goes_on else MOST_CALLS
        due = list(islice(chain(sorted(ready), absent), most))
        self._call(job, due, 2 if is_overdue else 1)
        if goes_on or (is_overdue and due):
            self._ledger.change(job, lambda current: replace(current, swept=built, beat_at=now))
        tree.settle()
        self._builder.complete(self._ledger.get(job.id))
