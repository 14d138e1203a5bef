"""Reconciles jobs: compares stored objects with the ledger and repairs what lost messages left."""

import logging
from dataclasses import replace
from itertools import chain, islice

from ingest_queue.build.builder import ChunkBuilder
from ingest_queue.build.ended import EndedJobs
from ingest_queue.build.parts_registry import MAX_ENQUEUED, EnqueueChunks, PartRegistry
from ingest_queue.jobs.job import Job
from ingest_queue.jobs.ledger import Ledger
from ingest_queue.jobs.target import Target
from ndlambda.errors import InvalidStateError
from ndlambda.services.catalog.service import Catalog

_log = logging.getLogger("ndlambda.ingest")

_MAX_ENQUEUED_IN_PROGRESS = 100
"""Chunks enqueued again while the job makes progress: their messages may just be waiting."""

OVERDUE_S = 120.0
"""Seconds without progress after which messages count as another attempt.

After ``attempts.MAX_ATTEMPTS`` such messages the first one is older than a Lambda can become.
"""


class Sweeper:
    """Continues jobs after lost messages and dead processes; idempotent."""

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        registry: PartRegistry,
        builder: ChunkBuilder,
        enqueue: EnqueueChunks,
        ended: EndedJobs,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._registry = registry
        self._builder = builder
        self._enqueue = enqueue
        self._ended = ended

    def sweep_all(self) -> int:
        """Sweep every job that has not ended, and return their number.

        An error in one job (a failing store, a bug of ours) does not affect the others.
        """
        jobs = list(self._ledger.running())
        for job in jobs:
            try:
                self.sweep(job)
            except Exception:  # noqa: BLE001 - one job must not stop the others
                _log.exception("ingest job %s could not be swept; it is tried again later", job.id)
        self._ended.sweep()
        return len(jobs)

    def sweep(self, job: Job) -> None:
        """Record unnotified objects, enqueue complete chunks, and end the job if all are built."""
        if not job.state.takes_input:
            self._builder.follow_up(job)
            return
        try:
            grid = Target.of(job, self._catalog).grid(job)
        except InvalidStateError as error:
            self._builder.fail(job, error.message)
            return
        if self._registry.record_unnotified(job):
            self._registry.close(self._ledger.get(job.id))
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
        most = _MAX_ENQUEUED_IN_PROGRESS if goes_on else MAX_ENQUEUED
        due = list(islice(chain(sorted(ready), absent), most))
        self._enqueue(job, due, 2 if is_overdue else 1)
        if goes_on or (is_overdue and due):
            self._ledger.change(job, lambda current: replace(current, swept=built, beat_at=now))
        tree.settle()
        self._builder.complete(self._ledger.get(job.id))
