"""Reconciles jobs: compares stored objects with the ledger and repairs what lost messages left."""

from collections.abc import Callable
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
from ndlambda.services.support.watch import Chains, Look

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
        chains: Chains,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._registry = registry
        self._builder = builder
        self._enqueue = enqueue
        self._chains = chains
        self._ended = EndedJobs(ledger, registry.drop)
        self._steps: list[Callable[[Job], bool]] = []

    def add_step(self, step: Callable[[Job], bool]) -> None:
        """Add what is done beside ``sweep`` for a job that takes input; it returns as that does."""
        self._steps.append(step)

    def look_after(self, job_id: str) -> Look:
        """Continue a job after lost messages, and remove its uploads after its end."""
        job = self._ledger.find(job_id)
        if job is None:
            return Look.ENDED
        if job.state.takes_input:
            moves = [step(job) for step in (self.sweep, *self._steps)]
            return Look.MOVES if any(moves) else Look.RESTS
        self._builder.follow_up(job)
        return self._ended.remove(job)

    def sweep_all(self) -> int:
        """Look after the jobs whose watch chains stand still; return their number."""
        jobs = list(self._ledger.running())
        for job in jobs:
            self._ledger.ensure_listed(job)
        ids = chain((job.id for job in jobs), self._ledger.ended())
        return sum(self._chains.take_over(job_id, self.look_after) for job_id in ids)

    def sweep(self, job: Job) -> bool:
        """Record unnotified objects, enqueue complete chunks, and end the job if all are built.

        Returns
        -------
        bool
            Whether the job moves, or was called for.
        """
        try:
            grid = Target.of(job, self._catalog).grid(job)
        except InvalidStateError as error:
            self._builder.fail(job, error.message)
            return True
        if self._registry.record_unnotified(job):
            self._registry.close(self._ledger.get(job.id))
        job = self._ledger.get(job.id)
        if not job.state.takes_input:
            return True
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
        return goes_on or bool(due)
