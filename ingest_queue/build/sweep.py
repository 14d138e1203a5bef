"""Reconciles jobs: compares stored objects with the ledger and repairs what lost messages left."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain, islice

from ingest_queue.build.builder import ChunkBuilder
from ingest_queue.build.ended import EndedJobs
from ingest_queue.build.parts_registry import MAX_ENQUEUED, EnqueueChunks, PartRegistry
from ingest_queue.jobs.grid import ChunkGrid
from ingest_queue.jobs.job import Job
from ingest_queue.jobs.ledger import Ledger
from ingest_queue.jobs.target import Target
from ndlambda.errors import InvalidStateError
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.support.watch import Chains, Look

_MAX_ENQUEUED_IN_PROGRESS = 100
"""Chunks enqueued again while the job makes progress: their messages may just be waiting."""

_WINDOWS_A_LOOK = 16
"""Windows of 65 536 chunks, whose sets are read in a few requests each."""

_ROWS_A_LOOK = 1000
"""Rows of chunks read in one look."""

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
        turn, tree = self._ledger.turn(job), self._ledger.built(job, grid.count)
        tree.settle()
        built = tree.size()
        now, goes_on = self._ledger.now(), built != job.swept
        turn = turn.next(goes_on=goes_on)
        if turn.lists and self._registry.record_unnotified(job):
            self._registry.close(self._ledger.get(job.id))
        job = self._ledger.get(job.id)
        if not job.state.takes_input:
            return True
        ready, after = self._ready(job, grid, turn.after)
        self._ledger.put_turn(job, replace(turn, after=after))
        absent = (number for number in tree.missing() if number not in ready) if job.closed else ()
        is_overdue = not goes_on and now - job.beat_at >= OVERDUE_S
        most = _MAX_ENQUEUED_IN_PROGRESS if goes_on else MAX_ENQUEUED
        due = list(islice(chain(sorted(ready), absent), most))
        self._enqueue(job, due, 2 if is_overdue else 1)
        if goes_on or (is_overdue and due):
            self._ledger.change(job, lambda current: replace(current, swept=built, beat_at=now))
        self._builder.complete(self._ledger.get(job.id))
        return goes_on or bool(due)

    def _ready(self, job: Job, grid: ChunkGrid, after: int) -> tuple[set[int], int]:
        """Return chunks to build among the next ones that may be open.

        Only the rows of chunks are read that have parts and are not in the set of built ones, or
        that were reopened: a bounded number, and no row of the others.

        Returns
        -------
        ready, after
            The chunks; the one after which the next look continues, -1: from the first.
        """
        ready: set[int] = set()
        read, last = 0, after
        windows = self._ledger.sets(job).windows(
            range(after + 1, grid.count), built_are_received=not job.closed
        )
        for window in islice(windows, _WINDOWS_A_LOOK):
            if isinstance(window, range):
                last = window.stop - 1
                continue
            is_open = (window.received & ~window.built) | window.needs_row
            numbers = window.numbers(is_open).tolist()[: _ROWS_A_LOOK - read]
            for number, state in self._ledger.states_of(job, numbers).items():
                if state.built and window.built[number - window.first]:
                    continue
                if state.built or job.closed or state.is_ready(grid.chunk(number)):
                    ready.add(number)
            read += len(numbers)
            last = numbers[-1] if read == _ROWS_A_LOOK else window.first + len(is_open) - 1
            if read == _ROWS_A_LOOK:
                break
        return ready, last if last + 1 < grid.count else -1
