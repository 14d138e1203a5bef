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
from ndlambda.stores.ports import ObjectStore

MOST_CALLS = 10_000
"""Chunks that are called for at once; the sweeper calls for more when these are built."""

_ATTEMPTS = 16

Call = Callable[[Job, list[int]], None]
"""Sends messages that wake builders for chunks of a job."""


class PartRegistry:
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
            return  # the channel is gone; whoever builds says so
        except InvalidArgumentError as error:
            self._note_stray(job, dropped.key, error.message, etag)
            return
        if job.state is State.CREATED:
            job = self._ledger.begin(job)
        now = self._enter(job, chunk, Part(number, dropped.key, etag))
        if job.state is State.FAILED and now.state is State.INGESTING:
            self._call_open(now, grid)  # nobody builds for a job that has failed

    def enter_unseen(self, job: Job) -> bool:
        """Enter what lies in the job's folder and is not entered; return whether it says "done".

        What was replaced since it was entered is seen where listings give ETags.
        """
        came = {number: state.seen for number, state in self._ledger.states(job)}
        seen = {
            part.key: part.etag
            for number, part in self._ledger.all_parts(job)
            if part.number in came.get(number, ())
        }
        faults = list(self._ledger.faults(job))
        faulty = {fault.key: fault.etag for fault in faults}
        rivals = {fault.key for fault in faults if fault.chunk == STRAYS}
        is_done = False
        for info in self._drop.list(job.folder):
            dropped = parse(info.key)
            if dropped is None:
                continue
            is_same = info.key in seen and info.etag in {None, seen[info.key]}
            if is_same and info.key not in faulty:
                continue
            if dropped.kind is DroppedKind.DONE:
                is_done = True
                continue
            etag = etag_of(self._drop, info.key)  # a listing is no more than a hint
            is_rival = dropped.kind is DroppedKind.SLICE and info.key in rivals  # who may have gone
            if etag is not None and (is_rival or etag != faulty.get(info.key)):
                self.take(job, dropped, etag)
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

        Boxes that were sent without planes that could not be read have to be sent again.

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
            if job.mode is Mode.CHUNKS and fault.chunk != STRAYS and fault.part >= PLANES:
                time_point = grid.chunk(fault.chunk).time_point
                for number in grid.of_plane(time_point, fault.part - PLANES):
                    self._ask_again(job, number)
                reopen = True
            elif fault.chunk != STRAYS:
                self._ledger.reopen(job, fault.chunk, fault.part)
            self._ledger.clear_fault(job, fault.chunk, fault.part)
        again = self._ledger.change(job, to) or self._ledger.get(job.id)
        self._call_open(again, grid)
        return again

    def _call_open(self, job: Job, grid: ChunkGrid) -> None:
        """Call for what is not built of a job that goes on."""
        ready = (n for n, state in self._ledger.states(job) if not state.built)
        known = set(islice(ready, MOST_CALLS))
        if job.closed:
            known.update(islice(self._ledger.built(job, grid.count).missing(), MOST_CALLS))
        self.call(job, sorted(known))

    def _enter(self, job: Job, chunk: Chunk, part: Part) -> Job:
        """Enter a part, and return the job, which may go on with it."""
        before = self._ledger.part(job, chunk.number, part.number)
        if before is not None and before.key != part.key and self._stands(job, chunk, before):
            self._note_rival(job, before, part)
            return job
        goes_on = job.state.takes_input or job.state is State.FAILED
        changed = before is not None and before.etag != part.etag and goes_on
        if changed:  # now, too: a process that dies after ``see`` leaves nothing to notice
            self._ledger.reopen(job, chunk.number, part.number)
        state = self._ledger.state(job, chunk.number)
        if before != part or part.number not in state.seen:  # told of twice, it is written once
            state = self._ledger.see(job, chunk, part)
        faults = []
        fault = self._ledger.fault(job, chunk.number, part.number)
        if fault is not None and fault.etag != part.etag:
            faults.append(fault)
        if before is not None and job.state is not State.COMPLETE:  # else it was never a rival
            rival = self._ledger.fault(job, STRAYS, _stray_number(part.key))
            faults += [] if rival is None else [rival]
        if changed or faults:
            state = self._ledger.reopen(job, chunk.number, part.number)
            for mended in faults:
                self._ledger.clear_fault(job, mended.chunk, mended.part)
            job = self._go_on(job)
        if not state.built and state.is_ready(chunk) and job.state.takes_input:
            self.call(job, [chunk.number])
        return job

    def _stands(self, job: Job, chunk: Chunk, part: Part) -> bool:
        """Return whether a part that came is still there and, as far as is known, of use."""
        if self._ledger.fault(job, chunk.number, part.number) is not None:
            return False
        return etag_of(self._drop, part.key) is not None

    def _note_rival(self, job: Job, first: Part, second: Part) -> None:
        """Record a second file for one slice: were it taken, chance would say which is stored."""
        if first.etag == second.etag:
            return
        error = (
            f"{second.key} is slice {second.number}, and so is {first.key}, which came first and "
            "is used. Delete the one that is wrong; to use this one, copy it again after that."
        )
        self._note_stray(job, second.key, error, second.etag)

    def _ask_again(self, job: Job, chunk: int) -> None:
        """Let the box of a chunk be missing, whatever came before."""
        part = self._ledger.part(job, chunk, DATA)
        if part is not None:
            self._drop.delete(part.key)
        for _ in optimistic(_ATTEMPTS):
            state = self._ledger.state(job, chunk)
            opened = replace(state, built=False, seen=state.seen - {DATA}, reopened=True)
            if self._ledger.put_state(job, chunk, opened):
                return
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

    def _note_stray(self, job: Job, key: str, error: str, etag: str) -> None:
        number = _stray_number(key)
        known = self._ledger.fault(job, STRAYS, number)
        if known is None or (known.etag, known.error) != (etag, error):
            self._ledger.add_fault(job, Fault(STRAYS, number, key, error, etag))


def _stray_number(key: str) -> int:
    return crc32(key.encode())


def _place(job: Job, grid: ChunkGrid, dropped: Dropped) -> tuple[Chunk, int]:
    """Return the chunk and the part that an object is.

    Raises
    ------
    InvalidArgumentError
        It is none.
    """
    if dropped.kind is DroppedKind.BOX and job.mode is Mode.CHUNKS:
        assert dropped.chunk is not None, "the key of a box names its chunk"
        return grid.chunk(dropped.chunk), DATA
    if dropped.kind is DroppedKind.SLICE and job.mode is Mode.SLICES:
        assert dropped.z is not None, "the key of a slice names it"
        if dropped.chunk is not None:
            chunk = grid.chunk(dropped.chunk)
            if dropped.z not in chunk.parts:
                raise OutOfBoundsError(f"Slice {dropped.z} is not of chunk {chunk.number}.")
            return chunk, dropped.z
        time_point = job.times[0] if dropped.time_point is None else dropped.time_point
        return grid.of_slice(time_point, dropped.z), dropped.z
    raise InvalidArgumentError(
        f"{dropped.key} is no slice like 0001.png, since {why_stray(dropped)}: it stays where it "
        "is and is not ingested."
        if job.mode is Mode.SLICES
        else f"{dropped.key} is no chunk of this job.",
    )
