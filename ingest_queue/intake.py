"""What a dropped object means: a slice seen, a job begun or closed; never more than a set-add.

Called for every notification of the drop store, once or several times, in any order, and by the
sweeper for what no notification told.

A slice that is mended and a builder that finds fault with what was there before may meet. So the
intake first enters the new object and then looks for a fault; the builder first records the fault
and then looks whether the object is still the same: one of them sees the other.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from zlib import crc32

from ingest_queue.grid import DATA, Chunk, ChunkGrid
from ingest_queue.job import Job, Mode, State
from ingest_queue.keys import Dropped, Kind, parse
from ingest_queue.ledger import ChunkState, Fault, Ledger, Part
from ingest_queue.target import Target
from ndlambda.errors import (
    InvalidArgumentError,
    InvalidStateError,
    OutOfBoundsError,
    WriteContentionError,
)
from ndlambda.services.catalog import Catalog
from ndlambda.stores.ports import ObjectStore, Range

STRAYS = (1 << 48) - 1
"""Number under which faults of objects are kept that belong to no chunk."""

MOST_CALLS = 10_000
"""Chunks that are called for at once; the sweeper calls for more when these are built."""

_ATTEMPTS = 16

Call = Callable[[Job, list[int]], None]
"""Sends messages that wake builders for chunks of a job."""


class Intake:
    """Enters what was dropped into the ledger and calls for chunks that are whole.

    Parameters
    ----------
    ledger, catalog, drop
        Where jobs, their channels and what was dropped are.
    call
        Wakes the builders.
    """

    def __init__(self, ledger: Ledger, catalog: Catalog, drop: ObjectStore, call: Call) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._drop = drop
        self.call = call

    def take(self, job: Job, dropped: Dropped, etag: str) -> None:
        """Enter an object into its job; harmless when repeated.

        What belongs to no chunk is recorded as a fault of the job and otherwise left alone.
        """
        if dropped.kind is Kind.DONE:
            self.close(job)
            return
        if dropped.kind is Kind.MANIFEST or job.state is State.CANCELLED:
            return
        try:
            target = Target.of(job, self._catalog)
            chunk, number = _place(job, target.grid(job), dropped)
        except InvalidStateError:
            return  # the channel is gone; whoever builds says so
        except InvalidArgumentError as error:
            self._note_stray(job, dropped, error.message, etag)
            return
        if job.state is State.CREATED:
            job = self._ledger.begin(job)
        self._enter(job, chunk, Part(number, dropped.key, etag))

    def enter_unseen(self, job: Job) -> bool:
        """Enter what lies in the job's folder and is not entered; tell whether it says "done"."""
        seen = {
            part.key
            for number, state in self._ledger.states(job)
            for part in self._ledger.parts(job, number).values()
            if part.number in state.seen
        }
        faulty = {fault.key: fault.etag for fault in self._ledger.faults(job)}
        is_done = False
        for info in self._drop.list(job.folder):
            dropped = parse(info.key)
            if dropped is None or (info.key in seen and info.key not in faulty):
                continue
            if dropped.kind is Kind.DONE:
                is_done = True
                continue
            stored = self._drop.get(info.key, Range(0, 1))
            if stored is not None and stored.etag != faulty.get(info.key):
                self.take(job, dropped, stored.etag)
        return is_done

    def close(self, job: Job) -> None:
        """Note that nothing more will come, and call for what is not built yet.

        What has come without a notification is entered first, so that it is not held missing.
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
        self.enter_unseen(job)
        closed = self._ledger.change(job, to)
        if closed is not None:
            missing = self._ledger.built(closed, grid.count).missing()
            self.call(closed, list(islice(missing, MOST_CALLS)))

    def retry(self, job: Job, *, reopen: bool = False) -> Job:
        """Let a failed job go on: forget its faults and call for what is not built.

        Parameters
        ----------
        reopen
            Whether a closed job waits again for what is missing.

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
        self.enter_unseen(job)
        for fault in list(self._ledger.faults(job)):
            if fault.chunk != STRAYS:
                self._reopen(job, fault.chunk, fault.part)
            self._ledger.clear_fault(job, fault.chunk, fault.part)
        again = self._ledger.change(job, to) or self._ledger.get(job.id)
        ready = (n for n, state in self._ledger.states(again) if not state.built)
        known = set(islice(ready, MOST_CALLS))
        if again.closed:
            known.update(islice(self._ledger.built(again, grid.count).missing(), MOST_CALLS))
        self.call(again, sorted(known))
        return again

    def _enter(self, job: Job, chunk: Chunk, part: Part) -> None:
        before = self._ledger.part(job, chunk.number, part.number)
        changed = before is not None and before.etag != part.etag and job.state.takes_input
        if changed:  # now, too: a process that dies after ``see`` leaves nothing to notice
            self._reopen(job, chunk.number, part.number)
        state = self._ledger.see(job, chunk, part)
        fault = self._ledger.fault(job, chunk.number, part.number)
        mended = fault is not None and fault.etag != part.etag
        if changed or mended:
            state = self._reopen(job, chunk.number, part.number)
            if mended:
                self._ledger.clear_fault(job, chunk.number, part.number)
            job = self._go_on(job)
        if not state.built and state.is_ready(chunk) and job.state.takes_input:
            self.call(job, [chunk.number])

    def _reopen(self, job: Job, chunk: int, part: int) -> ChunkState:
        """Let a chunk be built again, since one of its parts was mended.

        One that is being built changes, too, so that this is not taken for the end of it.
        """
        for _ in range(_ATTEMPTS):
            state = self._ledger.state(job, chunk)
            opened = replace(state, built=False, bad=state.bad - {part}, reopened=True)
            if self._ledger.put_state(job, chunk, opened):
                return self._ledger.state(job, chunk)
        raise WriteContentionError(f"Chunk {chunk} of job {job.id} keeps changing.")

    def _go_on(self, job: Job) -> Job:
        """Let a job that ended with faults, or failed of some that are mended, go on.

        A job that is under way changes, too: whoever is about to end it has to look again.
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

        return self._ledger.change(job, to) or self._ledger.get(job.id)

    def _note_stray(self, job: Job, dropped: Dropped, error: str, etag: str) -> None:
        number = crc32(dropped.key.encode())
        known = self._ledger.fault(job, STRAYS, number)
        if known is None or known.etag != etag:
            self._ledger.add_fault(job, Fault(STRAYS, number, dropped.key, error, etag))


def _place(job: Job, grid: ChunkGrid, dropped: Dropped) -> tuple[Chunk, int]:
    """Give the chunk and the part that an object is.

    Raises
    ------
    InvalidArgumentError
        It is none.
    """
    if dropped.kind is Kind.BOX and job.mode is Mode.CHUNKS:
        assert dropped.chunk is not None, "the key of a box names its chunk"
        return grid.chunk(dropped.chunk), DATA
    if dropped.kind is Kind.SLICE and job.mode is Mode.SLICES:
        assert dropped.z is not None, "the key of a slice names it"
        if dropped.chunk is not None:
            chunk = grid.chunk(dropped.chunk)
            if dropped.z not in chunk.parts:
                raise OutOfBoundsError(f"Slice {dropped.z} is not of chunk {chunk.number}.")
            return chunk, dropped.z
        time_point = job.times[0] if dropped.time_point is None else dropped.time_point
        return grid.of_slice(time_point, dropped.z), dropped.z
    raise InvalidArgumentError(
        f"{dropped.key} is no slice like 0001.png: it stays where it is and is not ingested."
        if job.mode is Mode.SLICES
        else f"{dropped.key} is no chunk of this job.",
    )


def find_job(ledger: Ledger, dropped: Dropped) -> Job | None:
    """Give the job that an object belongs to, None where there is none yet."""
    if dropped.job is not None:
        return ledger.find(dropped.job)
    return ledger.of_folder(dropped.folder)
