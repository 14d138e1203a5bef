"""Fetches the slices of autoIngest jobs from other servers.

A message names a slab of the job. A worker reads the slab's missing slices, writes them into the
job's folder and records them like dropped files. A slice that cannot be fetched becomes a fault of
the job under its policy, never silent zeros. When every slab was processed, the job is closed.

Messages may be lost, duplicated or late: the processed slabs are a set in the table (one for each
generation of the job, so that a retry fetches again), and the sweeper enqueues those not in it.

Rows: pk ``ingest#JOB``, sk ``fetch``: the plan; pk ``ingest#JOB#fetch#GENERATION``: the processed
slabs, and ``try#…``: see ``attempts``.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Any, Final, Self

from ingest_queue.build.parts import max_file_bytes
from ingest_queue.fetch.remote import RemoteFiles
from ingest_queue.images import tiles
from ingest_queue.jobs.attempts import Attempts, AttemptsExhaustedError
from ingest_queue.jobs.chunk_state import Fault
from ingest_queue.jobs.grid import Chunk
from ingest_queue.jobs.job import Job, fetch_partition
from ingest_queue.jobs.keys import parse, part_key
from ingest_queue.jobs.set_tree import SetTree
from ingest_queue.jobs.target import Target
from ingest_queue.service import IngestService
from ndlambda.deadline import Threads
from ndlambda.errors import (
    AlreadyExistsError,
    InvalidStateError,
    NDLambdaError,
    UpstreamTimeoutError,
)
from ndlambda.stores.ports import Overwrite, Row, Table

_log = logging.getLogger("ndlambda.ingest")

_PLAN: Final = "fetch"
_WINDOW: Final = 1000
"""Slabs enqueued at first; each processed slab enqueues the one at this distance."""
_MAX_ENQUEUED: Final = 100
"""Slabs that a sweep enqueues if nothing was received since the last one."""
_ATTEMPTS: Final = 5
_DELAY_S: Final = 10
_THREADS: Final = 8
_MEMORY_BYTES: Final = 1 << 28
_SLAB_S: Final = 300
"""After this time no further slice of a slab is begun: workers have a time limit."""
_LATE: Final = UpstreamTimeoutError("No time was left for it.")


class TileLayout(StrEnum):
    """How the files of a channel are laid out under their URL."""

    SLICE = "SLICE"
    CATMAID = "CATMAID"


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """The sources of a job's slices.

    Attributes
    ----------
    url
        Of the channel's folder.
    suffix
        Of the files, without the dot.
    timed
        Whether time points have folders ``timeTTTT``.
    swept
        Number of received slices at the last sweep.
    """

    url: str
    layout: TileLayout
    suffix: str
    timed: bool = False
    swept: int = field(default=-1, compare=False)

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Return the plan in a row."""
        return cls(**{**row.doc, "layout": TileLayout(row.doc["layout"])})

    def slice_url(self, time_point: int, z: int) -> str:
        """Return the URL of a slice."""
        folder = f"{self.url}/time{time_point:04d}" if self.timed else self.url
        return f"{folder}/{z:04d}.{self.suffix}"

    def tile_url(self, z: int, resolution: int, row: int, column: int) -> str:
        """Return the URL of a tile of a plane."""
        return f"{self.url}/{z}/{resolution}/{row}_{column}.{self.suffix}"


@dataclass(frozen=True, slots=True)
class FetchTask:
    """The task of fetching one slab; ``attempt`` counts from 1."""

    job: str
    generation: int
    chunk: int
    attempt: int = 1

    @property
    def message(self) -> str:
        """The body of its message."""
        return json.dumps(
            {
                "v": 1,
                "job": self.job,
                "gen": self.generation,
                "fetch": self.chunk,
                "try": self.attempt,
            }
        )

    @classmethod
    def find(cls, value: object) -> "FetchTask | None":
        """Return the task of a parsed message, None if it is a message of another kind."""
        match value:
            case {
                "v": 1,
                "job": str(job),
                "gen": int(generation),
                "fetch": int(chunk),
                "try": int(attempt),
            }:
                return cls(job, generation, chunk, attempt)
        return None


class Fetcher:
    """Fetches slices by plans.

    Parameters
    ----------
    clock
        Monotonic seconds, by which a worker stops in time.
    """

    def __init__(
        self,
        ingest: IngestService,
        table: Table,
        files: RemoteFiles,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ingest = ingest
        self._table = table
        self.files = files
        self._clock = clock
        ingest.sweeper.add_step(self._enqueue_lost)

    def plan(self, job_id: str, plan: FetchPlan) -> None:
        """Store the plan of a job before the job is created.

        Raises
        ------
        AlreadyExistsError
            The job has another plan.
        """
        known = self.find(job_id)
        if known is None:
            self._put(job_id, plan)
        elif known != plan:
            raise AlreadyExistsError(f"Job {job_id} is fetched from elsewhere.", job=job_id)

    def find(self, job_id: str) -> FetchPlan | None:
        """Return the plan of a job, None if its slices are not fetched."""
        row = self._table.get(f"ingest#{job_id}", _PLAN)
        return None if row is None else FetchPlan.from_row(row)

    def remove_plan(self, job_id: str) -> None:
        """Remove the plan of a job that was not created."""
        self._table.delete(f"ingest#{job_id}", _PLAN)

    def start(self, job: Job) -> None:
        """Enqueue the first slabs."""
        count = self._ingest.target(job).grid(job).count
        self._enqueue(job, range(min(count, _WINDOW)))

    def retry(self, job: Job) -> Job:
        """Resume a job with faults as ``PartRegistry.retry``, and fetch missing slices again.

        Raises
        ------
        InvalidStateError
            The job was cancelled, or its channel was deleted.
        """
        plan = self.find(job.id)
        again = self._ingest.registry.retry(job, reopen=plan is not None)
        if plan is not None and again.generation != job.generation:
            self.start(again)
        return again

    def run(self, task: FetchTask, delivery: int = 1) -> None:
        """Fetch the missing slices of a slab.

        Nothing happens if the job has ended or has a newer generation. Slices whose fetching keeps
        killing workers are rejected, like chunks that cannot be built. A store of ours that fails
        too often fails the job.

        Parameters
        ----------
        delivery
            Number of this delivery of the message, from 1.

        Raises
        ------
        NDLambdaError
            A store of ours failed; worth a retry.
        """
        with self._ingest.failing_with_stores(task.job, task.generation):
            self._run(task, delivery)

    # inside

    def _run(self, task: FetchTask, delivery: int) -> None:
        job, plan = self._ingest.ledger.find(task.job), self.find(task.job)
        if job is None or plan is None or job.generation != task.generation:
            return
        if not job.state.takes_input:
            return
        try:
            target = self._ingest.target(job)
        except InvalidStateError:
            return  # the channel is deleted; the sweeper reports it
        grid = target.grid(job)
        chunk, tried = grid.chunk(task.chunk), self._tried(job, grid.count)
        attempts = self._attempts(job)
        try:
            with attempts.track(chunk.number, delivery):
                waits, counts = self._fetch(job, plan, target, chunk, task.attempt)
        except AttemptsExhaustedError as error:
            _log.exception("chunk %d of ingest job %s is not fetched", chunk.number, job.id)
            waits = counts = False
            for z in self._missing(job, chunk):
                self._refuse(job, chunk, z, error)
        if waits:
            again = replace(task, attempt=task.attempt + counts)
            delay_s = _DELAY_S << (task.attempt - 1)
            self._ingest.stores.queue.send([again.message], delay_s)
            return
        behind = chunk.number + _WINDOW
        if behind < grid.count and not tried.has(behind):
            self._enqueue(job, [behind])
        if tried.enter(chunk.number):
            self._close(job)

    def _enqueue_lost(self, job: Job) -> bool:
        """Enqueue slabs whose messages were lost; return whether some are to be fetched."""
        plan, job = self.find(job.id), self._ingest.ledger.get(job.id)
        if plan is None or not job.state.takes_input:
            return False
        count = self._ingest.target(job).grid(job).count
        tried = self._tried(job, count)
        if tried.settle():
            self._close(job)
            return False
        received = self._ingest.progress(job).parts_received
        if received != plan.swept:
            self._put(job.id, replace(plan, swept=received))
        else:
            self._enqueue(job, list(islice(tried.missing(), _MAX_ENQUEUED)))
        return True

    def _fetch(
        self, job: Job, plan: FetchPlan, target: Target, chunk: Chunk, attempt: int
    ) -> tuple[bool, bool]:
        """Fetch the missing slices of a slab.

        Returns
        -------
        waits, counts
            Whether some are to be tried again; whether this counts as an attempt, which it does not
            if slices were received until the time was up.
        """
        wanted = self._missing(job, chunk)
        plane_bytes = chunk.box.voxels // chunk.box.shape_xyz[2] * target.channel.dtype.itemsize
        threads = max(1, min(_THREADS, _MEMORY_BYTES // plane_bytes, len(wanted)))
        ends = self._clock() + _SLAB_S
        fetch = partial(self._fetch_one, job, plan, target, chunk)
        with Threads(threads, thread_name_prefix="fetch") as pool:
            futures = [
                pool.submit(lambda z: fetch(z) if self._clock() < ends else _LATE, z)
                for z in wanted
            ]
        # Read after all have finished, so that a bug in one slice does not stop the others.
        outcomes = [future.result() for future in futures]
        counts = None not in outcomes or any(e not in {None, _LATE} for e in outcomes)
        waits = False
        for z, error in zip(wanted, outcomes, strict=True):
            if error is not None and error.retryable and (attempt < _ATTEMPTS or not counts):
                waits = True
            elif error is not None:
                self._refuse(job, chunk, z, error)
        return waits, counts

    def _missing(self, job: Job, chunk: Chunk) -> list[int]:
        """Return the missing slices of a slab."""
        received = self._ingest.ledger.state(job, chunk.number).received
        return [z for z in chunk.parts if z not in received]

    def _refuse(self, job: Job, chunk: Chunk, z: int, error: NDLambdaError) -> None:
        fault = Fault(chunk.number, z, "", f"It cannot be fetched: {error.message}")
        self._ingest.refuse(job, fault)

    def _fetch_one(
        self, job: Job, plan: FetchPlan, target: Target, chunk: Chunk, z: int
    ) -> NDLambdaError | None:
        """Fetch a slice; return the error if that fails."""
        try:
            name, body = self._read(plan, target, chunk, z)
        except NDLambdaError as error:
            return error
        key = part_key(job.id, chunk.number, name)
        etag = self._ingest.stores.drop.put(key, body, Overwrite())
        dropped = parse(key)
        assert dropped is not None, "part_key made the key"
        self._ingest.registry.record_object(job, dropped, etag)
        return None

    def _read(self, plan: FetchPlan, target: Target, chunk: Chunk, z: int) -> tuple[str, bytes]:
        """Return the name and the content of a slice."""
        _, height, width = chunk.box.shape_zyx
        dtype = target.channel.dtype
        if plan.layout is TileLayout.SLICE:
            limit = max_file_bytes(height * width * dtype.itemsize)
            url = plan.slice_url(chunk.time_point, z)
            return f"{z:06d}.{plan.suffix}", self.files.read(url, limit)

        def read(row: int, column: int) -> tuple[str, bytes]:
            url = plan.tile_url(z, target.level.resolution, row, column)
            return url, self.files.read(url, max_file_bytes(tiles.TILE**2 * 4))

        return f"{z:06d}.png", tiles.assemble(read, (height, width), dtype)

    def _attempts(self, job: Job) -> Attempts:
        partition = fetch_partition(job, job.generation)
        return Attempts(self._table, partition, job.generation, self._ingest.ledger.now)

    def _tried(self, job: Job, count: int) -> SetTree:
        return SetTree(self._table, fetch_partition(job, job.generation), count)

    def _close(self, job: Job) -> None:
        self._ingest.registry.close(self._ingest.ledger.get(job.id))

    def _enqueue(self, job: Job, chunks: Sequence[int]) -> None:
        bodies = [FetchTask(job.id, job.generation, chunk).message for chunk in chunks]
        self._ingest.stores.queue.send(bodies)

    def _put(self, job_id: str, plan: FetchPlan) -> None:
        doc: dict[str, Any] = asdict(plan) | {"layout": plan.layout.value}
        self._table.put(Row(f"ingest#{job_id}", _PLAN, doc=doc))
