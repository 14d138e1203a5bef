"""Fetching the slices of a job from where they lie: what autoIngest asks for.

A message names a slab of the job. A worker reads the slab's slices that have not come, puts them
into the job's folder and enters them there as if somebody had dropped them; from then on they are
slices like others. What cannot be had becomes a fault of the job under its policy, never zeros
without a word. When every slab was tried, nothing more will come and the job is closed.

Messages may be lost, doubled or late: which slabs were tried is a set in the table (one for each
generation of the job, so that a retry tries again), and the sweeper calls for what is not in it.

Rows: pk ``ingest#JOB``, sk ``fetch``: the plan; pk ``ingest#JOB#fetch#GENERATION``: slabs tried,
and ``try#…``: see ``tries``.
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import Any, Final, Self

from ingest_queue.build.parts import most_bytes
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
"""Slabs that are called for at first; each one that was tried calls for the one so far behind."""
_CALLS: Final = 100
"""Slabs that the sweeper calls for at once, when nothing has come since it last looked."""
_TRIES: Final = 5
_DELAY_S: Final = 10
_THREADS: Final = 8
_MEMORY_BYTES: Final = 1 << 28
_SLAB_S: Final = 300
"""After this long no further slice of a slab is begun: workers do not live for ever."""
_LATE: Final = UpstreamTimeoutError("No time was left for it.")


class TileLayout(StrEnum):
    """How the files of a channel are laid out under their URL."""

    SLICE = "SLICE"
    CATMAID = "CATMAID"


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """Where the slices of a job are.

    Attributes
    ----------
    url
        Of the channel's folder.
    suffix
        Of the files, without the dot.
    timed
        Whether time points have folders ``timeTTTT``.
    swept
        How many slices had come when the sweeper last came by.
    """

    url: str
    layout: TileLayout
    suffix: str
    timed: bool = False
    swept: int = field(default=-1, compare=False)

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Return the plan that a row holds."""
        return cls(**{**row.doc, "layout": TileLayout(row.doc["layout"])})

    def slice_url(self, time_point: int, z: int) -> str:
        """Return the URL of a slice."""
        folder = f"{self.url}/time{time_point:04d}" if self.timed else self.url
        return f"{folder}/{z:04d}.{self.suffix}"

    def tile_url(self, z: int, resolution: int, row: int, column: int) -> str:
        """Return the URL of a tile of a plane."""
        return f"{self.url}/{z}/{resolution}/{row}_{column}.{self.suffix}"


@dataclass(frozen=True, slots=True)
class FetchCall:
    """The wake-up call to fetch a slab: which, and the how-manieth time."""

    job: str
    generation: int
    chunk: int
    attempt: int = 1

    @property
    def message(self) -> str:
        """As it is sent."""
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
    def find(cls, value: object) -> "FetchCall | None":
        """Return the call that a message is, None where it is another."""
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
    """Fetches what plans name.

    Parameters
    ----------
    ingest
        The jobs.
    table
        Where plans are.
    files
        Reads URLs.
    clock
        Seconds from any moment, by which a worker stops in time.
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

    def plan(self, job_id: str, plan: FetchPlan) -> None:
        """Store where the slices of a job will be, before the job is made.

        Raises
        ------
        AlreadyExistsError
            They are elsewhere.
        """
        known = self.find(job_id)
        if known is None:
            self._put(job_id, plan)
        elif known != plan:
            raise AlreadyExistsError(f"Job {job_id} is fetched from elsewhere.", job=job_id)

    def find(self, job_id: str) -> FetchPlan | None:
        """Return where the slices of a job are, None where nobody fetches them."""
        row = self._table.get(f"ingest#{job_id}", _PLAN)
        return None if row is None else FetchPlan.from_row(row)

    def forget(self, job_id: str) -> None:
        """Remove the plan of a job that was not made."""
        self._table.delete(f"ingest#{job_id}", _PLAN)

    def start(self, job: Job) -> None:
        """Call for the first slabs."""
        count = self._ingest.target(job).grid(job).count
        self._call(job, range(min(count, _WINDOW)))

    def retry(self, job: Job) -> Job:
        """Let a job with faults go on, as ``Intake.retry``; what is fetched is fetched again.

        Raises
        ------
        InvalidStateError
            The job was cancelled, or its channel was deleted.
        """
        plan = self.find(job.id)
        again = self._ingest.intake.retry(job, reopen=plan is not None)
        if plan is not None and again.generation != job.generation:
            self.start(again)
        return again

    def run(self, call: FetchCall, delivery: int = 1) -> None:
        """Fetch the slices of a slab that have not come.

        Nothing happens where the job has ended or was called again since the message. Slices over
        which workers are killed again and again are refused, as chunks that cannot be built are.

        Parameters
        ----------
        delivery
            How often the message was delivered, with this time.

        Raises
        ------
        NDLambdaError
            A store of ours failed: to be tried again.
        """
        job, plan = self._ingest.ledger.find(call.job), self.find(call.job)
        if job is None or plan is None or job.generation != call.generation:
            return
        if not job.state.takes_input:
            return
        try:
            target = self._ingest.target(job)
        except InvalidStateError:
            return  # the channel is gone; the sweeper says so
        grid = target.grid(job)
        chunk, tried = grid.chunk(call.chunk), self._tried(job, grid.count)
        tries = self._tries(job)
        try:
            with tries.trying(chunk.number, delivery):
                waits, counts = self._fetch(job, plan, target, chunk, call.attempt)
        except AttemptsExhaustedError as error:
            _log.exception("chunk %d of ingest job %s is not fetched", chunk.number, job.id)
            waits = counts = False
            for z in self._wanted(job, chunk):
                self._refuse(job, chunk, z, error)
        if waits:
            again = replace(call, attempt=call.attempt + counts)
            delay_s = _DELAY_S << (call.attempt - 1)
            self._ingest.stores.queue.send([again.message], delay_s)
            return
        behind = chunk.number + _WINDOW
        if behind < grid.count and not tried.has(behind):
            self._call(job, [behind])
        if tried.enter(chunk.number):
            self._close(job)

    def sweep(self) -> int:
        """Call for slabs whose messages were lost; give how many jobs are being fetched."""
        fetched = 0
        for job in list(self._ingest.ledger.running()):
            plan = self.find(job.id)
            if plan is None or not job.state.takes_input:
                continue
            fetched += 1
            try:
                self._sweep(job, plan)
            except NDLambdaError:
                _log.exception("ingest job %s could not be swept; later again", job.id)
        return fetched

    # inside

    def _sweep(self, job: Job, plan: FetchPlan) -> None:
        count = self._ingest.target(job).grid(job).count
        tried = self._tried(job, count)
        if tried.settle():
            self._close(job)
            return
        seen = sum(len(state.seen) for _, state in self._ingest.ledger.states(job))
        if seen != plan.swept:
            self._put(job.id, replace(plan, swept=seen))
        else:
            self._call(job, list(islice(tried.missing(), _CALLS)))

    def _fetch(
        self, job: Job, plan: FetchPlan, target: Target, chunk: Chunk, attempt: int
    ) -> tuple[bool, bool]:
        """Fetch what has not come of a slab.

        Returns
        -------
        waits, counts
            Whether some of it is to be tried again; False where that is no further attempt, since
            slices came until the time was up.
        """
        wanted = self._wanted(job, chunk)
        plane_bytes = chunk.box.voxels // chunk.box.shape_xyz[2] * target.channel.dtype.itemsize
        threads = max(1, min(_THREADS, _MEMORY_BYTES // plane_bytes, len(wanted)))
        ends = self._clock() + _SLAB_S
        fetch = partial(self._fetch_one, job, plan, target, chunk)
        with ThreadPoolExecutor(threads, thread_name_prefix="fetch") as pool:
            futures = [
                pool.submit(lambda z: fetch(z) if self._clock() < ends else _LATE, z)
                for z in wanted
            ]
        # Only now, so that a fault of ours over one slice keeps none of the others.
        outcomes = [future.result() for future in futures]
        counts = None not in outcomes or any(e not in {None, _LATE} for e in outcomes)
        waits = False
        for z, error in zip(wanted, outcomes, strict=True):
            if error is not None and error.retryable and (attempt < _TRIES or not counts):
                waits = True
            elif error is not None:
                self._refuse(job, chunk, z, error)
        return waits, counts

    def _wanted(self, job: Job, chunk: Chunk) -> list[int]:
        """Return the slices of a slab that have not come."""
        seen = self._ingest.ledger.state(job, chunk.number).seen
        return [z for z in chunk.parts if z not in seen]

    def _refuse(self, job: Job, chunk: Chunk, z: int, error: NDLambdaError) -> None:
        fault = Fault(chunk.number, z, "", f"It cannot be fetched: {error.message}")
        self._ingest.refuse(job, fault)

    def _fetch_one(
        self, job: Job, plan: FetchPlan, target: Target, chunk: Chunk, z: int
    ) -> NDLambdaError | None:
        """Fetch a slice; give why it cannot be had."""
        try:
            name, body = self._read(plan, target, chunk, z)
        except NDLambdaError as error:
            return error
        key = part_key(job.id, chunk.number, name)
        etag = self._ingest.stores.drop.put(key, body, Overwrite())
        dropped = parse(key)
        assert dropped is not None, "it was made by part_key"
        self._ingest.intake.take(job, dropped, etag)
        return None

    def _read(self, plan: FetchPlan, target: Target, chunk: Chunk, z: int) -> tuple[str, bytes]:
        """Return the name and the content of a slice."""
        _, height, width = chunk.box.shape_zyx
        dtype = target.channel.dtype
        if plan.layout is TileLayout.SLICE:
            limit = most_bytes(height * width * dtype.itemsize)
            url = plan.slice_url(chunk.time_point, z)
            return f"{z:06d}.{plan.suffix}", self.files.read(url, limit)

        def read(row: int, column: int) -> tuple[str, bytes]:
            url = plan.tile_url(z, target.level.resolution, row, column)
            return url, self.files.read(url, most_bytes(tiles.TILE**2 * 4))

        return f"{z:06d}.png", tiles.assemble(read, (height, width), dtype)

    def _tries(self, job: Job) -> Attempts:
        partition = fetch_partition(job, job.generation)
        return Attempts(self._table, partition, job.generation, self._ingest.ledger.now)

    def _tried(self, job: Job, count: int) -> SetTree:
        return SetTree(self._table, fetch_partition(job, job.generation), count)

    def _close(self, job: Job) -> None:
        self._ingest.intake.close(self._ingest.ledger.get(job.id))

    def _call(self, job: Job, chunks: Sequence[int]) -> None:
        calls = [FetchCall(job.id, job.generation, chunk).message for chunk in chunks]
        self._ingest.stores.queue.send(calls)

    def _put(self, job_id: str, plan: FetchPlan) -> None:
        doc: dict[str, Any] = asdict(plan) | {"layout": plan.layout.value}
        self._table.put(Row(f"ingest#{job_id}", _PLAN, doc=doc))
