"""Records dropped objects: a part is received, a job begun or closed.

Called for every notification of the drop store (at-least-once, in any order), and by the sweeper
for objects whose notification was lost. All writes are idempotent.

A repaired slice may race with a builder that rejects the old one. So the registry first records the
new object and then looks for a fault; the builder first records the fault and then checks that the
object is unchanged: at least one of them sees the other.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Protocol
from zlib import crc32

from ingest_queue.jobs.chunk_state import STRAYS, Fault, Part
from ingest_queue.jobs.grid import DATA, PLANES, Chunk, ChunkGrid
from ingest_queue.jobs.job import Job, Mode, State
from ingest_queue.jobs.keys import Dropped, DroppedKind, etag_of, parse, why_stray
from ingest_queue.jobs.ledger import Ledger
from ingest_queue.jobs.target import Target
from ndlambda.errors import (
    InvalidArgumentError,
    InvalidStateError,
    OutOfBoundsError,
    WriteContentionError,
)
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.support.retry import optimistic
from ndlambda.services.support.watch import Chains
from ndlambda.stores.ports import ObjectStore

MAX_ENQUEUED = 10_000
"""Chunks enqueued at once; the sweeper enqueues more when these are built."""

_ATTEMPTS = 16


class EnqueueChunks(Protocol):
    """Wakes builders for chunks of a job."""

    def __call__(self, job: Job, chunks: Sequence[int], attempt: int = 1) -> None:
        """Send the messages; ``attempt`` is over 1 if an earlier attempt did not finish."""
        ...


class PartRegistry:
    """Records dropped objects in the ledger and enqueues complete chunks."""

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        drop: ObjectStore,
        enqueue: EnqueueChunks,
        chains: Chains,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self.drop = drop
        self._enqueue = enqueue
        self._chains = chains

    def record_object(self, job: Job, dropped: Dropped, etag: str) -> None:
        """Record an object of a job; idempotent.

        An object that belongs to no chunk is recorded as a fault of the job, and stays.
        """
        if dropped.kind is DroppedKind.DONE:
            self.close(job)
            return
        if dropped.kind is DroppedKind.MANIFEST or job.state is State.CANCELLED:
            return
        try:
            target = Target.of(job, self._catalog)
            grid = target.grid(job)
            chunk, number = _place(job, grid, dropped)
        except InvalidStateError:
            return  # the channel is deleted; the builder reports it
        except InvalidArgumentError as error:
            self._record_stray(job, dropped.key, error.message, etag)
            return
        if job.state is State.CREATED:
            self._chains.wake(job.id)
            job = self._ledger.begin(job)
        now = self._record(job, chunk, Part(number, dropped.key, etag))
        if job.state is State.FAILED and now.state is State.INGESTING:
            self._enqueue_open(now, grid)  # nothing was built while the job was failed

    def record_unnotified(self, job: Job) -> bool:
        """Record unrecorded objects of the job's folder; return whether it has a ``_DONE`` file.

        Replaced objects are noticed if listings contain ETags.
        """
        received = {number: state.received for number, state in self._ledger.states(job)}
        recorded = {
            part.key: part.etag
            for number, part in self._ledger.all_parts(job)
            if part.number in received.get(number, ())
        }
        faults = list(self._ledger.faults(job))
        faulty = {fault.key: fault.etag for fault in faults}
        rivals = {fault.key for fault in faults if fault.chunk == STRAYS}
        is_done = False
        for info in self.drop.list(job.folder):
            dropped = parse(info.key)
            if dropped is None:
                continue
            is_same = info.key in recorded and info.etag in {None, recorded[info.key]}
            if is_same and info.key not in faulty:
                continue
            if dropped.kind is DroppedKind.DONE:
                is_done = True
                continue
            etag = etag_of(self.drop, info.key)  # the listing may be stale
            # The file that a rival lost to may be gone.
            is_rival = dropped.kind is DroppedKind.SLICE and info.key in rivals
            if etag is not None and (is_rival or etag != faulty.get(info.key)):
                self.record_object(job, dropped, etag)
        return is_done

    def close(self, job: Job) -> None:
        """Close a job: it expects no more input. Enqueue the chunks that are not built yet.

        Unnotified objects are recorded first, so that they do not count as missing.
        """
        if job.closed or not job.state.takes_input:
            return

        def to(current: Job) -> Job | None:
            if current.closed or not current.state.takes_input:
                return None
            begun = current.with_state(State.INGESTING, self._ledger.now())
            return replace(begun, closed=True)

        try:
            grid = Target.of(job, self._catalog).grid(job)
        except InvalidStateError:
            return
        self.record_unnotified(job)
        self._chains.wake(job.id)
        closed = self._ledger.change(job, to)
        if closed is not None:
            missing = self._ledger.built(closed, grid.count).missing()
            self._enqueue(closed, list(islice(missing, MAX_ENQUEUED)))

    def retry(self, job: Job, *, reopen: bool = False) -> Job:
        """Resume a failed job: clear its faults and enqueue the chunks that are not built.

        Boxes uploaded without their unreadable planes must be uploaded again.

        Parameters
        ----------
        reopen
            Whether a closed job waits for missing parts again.

        Raises
        ------
        InvalidStateError
            The job was cancelled, or its channel was deleted.
        """

        def to(current: Job) -> Job | None:
            if current.state is State.CANCELLED:
                return None
            begun = current.with_state(State.INGESTING, self._ledger.now())
            is_closed = current.closed and not reopen
            return replace(begun, generation=current.generation + 1, closed=is_closed)

        if job.state is State.CANCELLED:
            raise InvalidStateError(f"Ingest job {job.id} was cancelled.", job=job.id)
        if job.state is State.COMPLETE:
            return job
        grid = Target.of(job, self._catalog).grid(job)
        self.record_unnotified(job)
        for fault in list(self._ledger.faults(job)):
            if job.mode is Mode.CHUNKS and fault.chunk != STRAYS and fault.part >= PLANES:
                time_point = grid.chunk(fault.chunk).time_point
                for number in grid.of_plane(time_point, fault.part - PLANES):
                    self._request_again(job, number)
                reopen = True
            elif fault.chunk != STRAYS:
                self._ledger.reopen(job, fault.chunk, fault.part)
            self._ledger.clear_fault(job, fault.chunk, fault.part)
        self._chains.restart(job.id)  # first: a death after the change leaves a watched job
        again = self._ledger.change(job, to) or self._ledger.get(job.id)
        self._enqueue_open(again, grid)
        return again

    def _enqueue_open(self, job: Job, grid: ChunkGrid) -> None:
        """Enqueue the unbuilt chunks of a resumed job."""
        ready = (n for n, state in self._ledger.states(job) if not state.built)
        known = set(islice(ready, MAX_ENQUEUED))
        if job.closed:
            known.update(islice(self._ledger.built(job, grid.count).missing(), MAX_ENQUEUED))
        self._enqueue(job, sorted(known))

    def _record(self, job: Job, chunk: Chunk, part: Part) -> Job:
        """Record a part, and return the job, which may resume with it."""
        before = self._ledger.part(job, chunk.number, part.number)
        if before is not None and before.key != part.key and self._is_usable(job, chunk, before):
            self._record_rival(job, before, part)
            return job
        goes_on = job.state.takes_input or job.state is State.FAILED
        changed = before is not None and before.etag != part.etag and goes_on
        if changed:  # before, too: after a crash behind ``record_part`` the change is not noticed
            self._ledger.reopen(job, chunk.number, part.number)
        state = self._ledger.state(job, chunk.number)
        if before != part or part.number not in state.received:  # a duplicate writes nothing
            state = self._ledger.record_part(job, chunk, part)
        repaired = []
        fault = self._ledger.fault(job, chunk.number, part.number)
        if fault is not None and fault.etag != part.etag:
            repaired.append(fault)
        if before is not None and job.state is not State.COMPLETE:  # else it was never a rival
            rival = self._ledger.fault(job, STRAYS, _stray_number(part.key))
            repaired += [] if rival is None else [rival]
        if changed or repaired:
            state = self._ledger.reopen(job, chunk.number, part.number)
            for each in repaired:
                self._ledger.clear_fault(job, each.chunk, each.part)
            job = self._resume(job)
        if not state.built and state.is_ready(chunk) and job.state.takes_input:
            self._enqueue(job, [chunk.number])
        return job

    def _is_usable(self, job: Job, chunk: Chunk, part: Part) -> bool:
        """Return whether a received part still exists and has no recorded fault."""
        if self._ledger.fault(job, chunk.number, part.number) is not None:
            return False
        return etag_of(self.drop, part.key) is not None

    def _record_rival(self, job: Job, first: Part, second: Part) -> None:
        """Record a second file for a slice as a fault, so that timing does not choose the slice."""
        if first.etag == second.etag:
            return
        error = (
            f"{second.key} is slice {second.number}, and so is {first.key}, which came first and "
            "is used. Delete the one that is wrong; to use this one, copy it again after that."
        )
        self._record_stray(job, second.key, error, second.etag)

    def _request_again(self, job: Job, chunk: int) -> None:
        """Mark the box of a chunk as missing, and delete it."""
        part = self._ledger.part(job, chunk, DATA)
        if part is not None:
            self.drop.delete(part.key)
        for _ in optimistic(_ATTEMPTS):
            state = self._ledger.state(job, chunk)
            opened = replace(state, built=False, received=state.received - {DATA}, reopened=True)
            if self._ledger.put_state(job, chunk, opened):
                return
        raise WriteContentionError(f"Chunk {chunk} of job {job.id} keeps changing.")

    def _resume(self, job: Job) -> Job:
        """Resume a job that ended with faults, or failed for faults that are repaired.

        A running job is changed, too, so that a concurrent attempt to end it is repeated.
        """

        def to(current: Job) -> Job | None:
            now = self._ledger.now()
            if current.state is State.INGESTING:
                return replace(current, beat_at=now)
            waits = current.state is State.FAILED and any(
                fault.chunk != STRAYS for fault in self._ledger.faults(job)
            )
            if waits or current.state not in {State.FAILED, State.COMPLETE_WITH_ERRORS}:
                return None
            return current.with_state(State.INGESTING, now)

        if not job.state.takes_input:
            self._chains.restart(job.id)
        return self._ledger.change(job, to) or self._ledger.get(job.id)

    def _record_stray(self, job: Job, key: str, error: str, etag: str) -> None:
        number = _stray_number(key)
        known = self._ledger.fault(job, STRAYS, number)
        if known is None or (known.etag, known.error) != (etag, error):
            self._ledger.add_fault(job, Fault(STRAYS, number, key, error, etag))


def _stray_number(key: str) -> int:
    return crc32(key.encode())


def _place(job: Job, grid: ChunkGrid, dropped: Dropped) -> tuple[Chunk, int]:
    """Return the chunk and part number of an object.

    Raises
    ------
    InvalidArgumentError
        It is not a part of this job.
    """
    if dropped.kind is DroppedKind.BOX and job.mode is Mode.CHUNKS:
        assert dropped.chunk is not None, "the key of a box names its chunk"
        return grid.chunk(dropped.chunk), DATA
    if dropped.kind is DroppedKind.SLICE and job.mode is Mode.SLICES:
        assert dropped.z is not None, "the key of a slice has its number"
        if dropped.chunk is not None:
            chunk = grid.chunk(dropped.chunk)
            if dropped.z not in chunk.parts:
                raise OutOfBoundsError(
                    f"Slice {dropped.z} does not belong to chunk {chunk.number}."
                )
            return chunk, dropped.z
        time_point = job.times[0] if dropped.time_point is None else dropped.time_point
        return grid.of_slice(time_point, dropped.z), dropped.z
    raise InvalidArgumentError(
        f"{dropped.key} is not a slice like 0001.png, since {why_stray(dropped)}: it stays "
        "where it is and is not ingested."
        if job.mode is Mode.SLICES
        else f"{dropped.key} is not a chunk of this job.",
    )
