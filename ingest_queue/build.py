"""Building chunks: from parts in the drop store to supercuboids, exactly once in effect.

Everything here may be done twice, at the same time too: voxels are written by conditional
replacement and come out the same, digests are determined by the input, and the sets of what is done
only grow. A process may die between any two steps; whoever comes next carries on.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ingest_queue.build_outcomes import Changed, Gone, Refused, Stop
from ingest_queue.digests import ChunkDigests, digests_key, root_digest, supercuboid_digests
from ingest_queue.grid import Chunk, row_strips
from ingest_queue.job import Job, Mode, Policy, State
from ingest_queue.keys import job_folder
from ingest_queue.ledger import ChunkState, Fault, Ledger, Part
from ingest_queue.parts import PartGoneError, PartReader
from ingest_queue.target import Target, VoxelWriter
from ndlambda.errors import (
    InvalidStateError,
    NDLambdaError,
    NotFoundError,
    ReadOnlyChannelError,
    WriteContentionError,
)
from ndlambda.services.catalog import Catalog
from ndlambda.space.box import Box
from ndlambda.stores.ports import ObjectStore, Overwrite, Queue, Range

STRIP_BYTES = 1 << 29
"""Voxels of a chunk that are held at once; planes of larger slabs are decoded strip by strip."""

_ATTEMPTS = 16
_PARTLY = "partly"


class Propagate(Protocol):
    """Starts the propagation of a channel that a job has filled."""

    def __call__(self, job: Job) -> None:
        """Start it; harmless where it runs already."""
        ...


@dataclass(frozen=True, slots=True)
class Stores:
    """Where voxels come from, where digests go, and what wakes builders."""

    drop: ObjectStore
    objects: ObjectStore
    queue: Queue


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How chunks are built.

    Attributes
    ----------
    strip_bytes
        Bound on the voxels held at once; at least one row of supercuboids is.
    keep_input
        Whether what was dropped into folders stays when it is stored; else it is deleted.
    """

    strip_bytes: int = STRIP_BYTES
    keep_input: bool = True


@dataclass(slots=True)
class _Built:
    """What became of one chunk."""

    digests: ChunkDigests
    faults: list[Fault]
    stored_bytes: int


class Builder:
    """Builds chunks and completes jobs.

    Parameters
    ----------
    ledger, stores, catalog, writer
        Where things are.
    propagate
        Called for completed jobs that ask for it.
    options
        Bounds, and what becomes of the input.
    """

    def __init__(
        self,
        ledger: Ledger,
        stores: Stores,
        catalog: Catalog,
        writer: VoxelWriter,
        propagate: Propagate,
        options: BuildOptions | None = None,
    ) -> None:
        self._ledger = ledger
        self._stores = stores
        self._catalog = catalog
        self._writer = writer
        self._propagate = propagate
        self._options = options or BuildOptions()

    def build(self, job_id: str, generation: int, number: int) -> None:
        """Build a chunk whose parts have come, and complete the job with the last one.

        Nothing happens where the job has ended or was called again since the message, or where
        parts are missing (unless the job is closed: then its policy says what becomes of them).

        Raises
        ------
        OutOfBoundsError
            The job has no such chunk.
        NDLambdaError
            A store failed, or the channel takes no writes now: to be tried again.
        """
        job = self._ledger.find(job_id)
        if job is None or job.generation != generation or not job.state.takes_input:
            return
        target = self._target(job)
        if target is None:
            return
        grid = target.grid(job)
        chunk, built = grid.chunk(number), self._ledger.built(job, grid.count)
        is_new, wrote = False, ""
        for _ in range(_ATTEMPTS):
            state = self._ledger.state(job, number)
            if state.built and wrote in {"", state.digest}:
                break
            if not (state.is_ready(chunk) or job.closed):
                return
            try:
                wrote, is_new = self._settle(job, target, chunk, state)
            except Stop:
                return
            if is_new:
                break
        else:
            raise WriteContentionError(f"Chunk {number} of job {job_id} keeps changing.")
        if is_new or not built.has(number):  # who dies before it is entered is called for again
            self._tidy(job, number)
        built.enter(number)
        self.complete(job)

    def complete(self, job: Job) -> bool:
        """End a job all of whose chunks are built, and tell whether it was this call that did."""
        target = self._target(job)
        if target is None or not self._ledger.built(job, target.grid(job).count).is_full():
            return False

        def to(current: Job) -> Job | None:
            # All is looked up here, after the job: who mends a slice changes it last.
            if current.state is not State.INGESTING or current.generation != job.generation:
                return None
            states = [state for _, state in self._ledger.states(job)]
            if not all(state.built for state in states):  # one was opened again
                return None
            faulty = any(True for _ in self._ledger.faults(job))
            ending = State.COMPLETE_WITH_ERRORS if faulty else State.COMPLETE
            ended = current.with_state(ending, self._ledger.now())
            return replace(ended, digest=root_digest(state.digest for state in states))

        ended = self._ledger.change(job, to)
        if ended is None:
            return False
        self.follow_up(ended)
        return True

    def follow_up(self, job: Job) -> None:
        """Start the propagation that a completed job asks for, once."""
        if job.state.is_complete and job.propagate and not job.propagated:
            self._propagate(job)
            self._ledger.change(job, lambda current: replace(current, propagated=True))

    def fail(self, job: Job, reason: str, fault: Fault | None = None) -> None:
        """End a job that cannot go on until somebody mends something.

        Where a fault is the reason, nothing happens if that was mended meanwhile.
        """

        def to(current: Job) -> Job | None:
            if not current.state.takes_input or current.generation != job.generation:
                return None
            if fault is not None and self._ledger.fault(job, fault.chunk, fault.part) is None:
                return None
            return current.with_state(State.FAILED, self._ledger.now(), reason)

        self._ledger.change(job, to)

    def refuse(self, job: Job, fault: Fault) -> None:
        """Record a part that cannot be had; where the policy is to fail, the job ends of it.

        Nothing happens if the part has come meanwhile.
        """
        if self._stands(job, fault) and job.on_bad is Policy.FAIL:
            self.fail(job, fault.error, fault)

    # inside

    def _target(self, job: Job) -> Target | None:
        try:
            return Target.of(job, self._catalog)
        except InvalidStateError as error:
            self.fail(job, error.message)
            return None

    def _settle(
        self, job: Job, target: Target, chunk: Chunk, state: ChunkState
    ) -> tuple[str, bool]:
        """Write what a chunk's parts hold, and enter that it is built.

        Who lost to another may have written voxels of a part that was replaced over those that
        the other has entered. So it writes once more, until it wrote what is entered.

        Returns
        -------
        wrote, settled
            The digest of what was written, ``_PARTLY`` where it was not all of one state; False
            where the chunk changed meanwhile.

        Raises
        ------
        Stop
            Nothing more is to be done now.
        """
        parts = self._ledger.parts(job, chunk.number)
        reader = PartReader(self._stores.drop, target.channel, chunk)
        # Where it is stored its parts may be deleted, which is no reason to take them for missing.
        asked = replace(job, closed=False) if state.built else job
        try:
            built = self._write(asked, target, reader, parts, state)
        except Changed:
            return _PARTLY, False
        except (Gone, Refused, ReadOnlyChannelError, InvalidStateError) as error:
            if state.built:
                raise Stop from error
            return _PARTLY, self._give_up(job, chunk, state, error)
        wrote = built.digests.digest
        if state.built or sum(self._stands(job, f) for f in built.faults) < len(built.faults):
            return wrote, False
        body = built.digests.encode()
        self._stores.objects.put(digests_key(job.id, chunk.number, wrote), body, Overwrite())
        settled = replace(
            state,
            built=True,
            bad=frozenset(fault.part for fault in built.faults),
            digest=wrote,
            stored_bytes=built.stored_bytes,
        )
        return wrote, self._ledger.put_state(job, chunk.number, settled)

    def _give_up(self, job: Job, chunk: Chunk, state: ChunkState, error: Exception) -> bool:
        """Note why a chunk cannot be built; False where a part is there now that was no use.

        Raises
        ------
        Stop
            Nothing more is to be done now.
        """
        if self._ledger.state(job, chunk.number).version != state.version:
            return False  # another has stored it, and perhaps deleted the parts
        match error:
            case Gone(part=part):
                self._ledger.unsee(job, chunk.number, part.number, state)
            case Refused(fault=fault):
                if not self._stands(job, fault):
                    return False
                self.fail(job, fault.error, fault)
            case ReadOnlyChannelError(message=reason):
                self.fail(job, reason)
        raise Stop from error  # a channel being propagated is waited for: the sweeper calls again

    def _stands(self, job: Job, fault: Fault) -> bool:
        """Record a fault, unless the part was replaced while it was looked at."""
        self._ledger.add_fault(job, fault)
        part = self._ledger.part(job, fault.chunk, fault.part)
        if part is None or part.etag == fault.etag:
            return True
        self._ledger.clear_fault(job, fault.chunk, fault.part)
        return False

    def _tidy(self, job: Job, number: int) -> None:
        """Delete what a stored chunk was made of, unless it is to be kept.

        What was uploaded to a job is a copy, and never kept. All of a chunk with a bad slice stays,
        since it is needed again when that is mended, and so does an object that was replaced since.
        """
        is_kept = self._options.keep_input and job.folder != job_folder(job.id)
        if is_kept or self._ledger.state(job, number).bad:
            return
        for part in self._ledger.parts(job, number).values():
            stored = self._stores.drop.get(part.key, Range(0, 1))
            if stored is not None and stored.etag == part.etag:
                self._stores.drop.delete(part.key)

    def _check_current(self, job: Job, number: int, state: ChunkState) -> None:
        """Let go of a job that has ended or was called again, and of a chunk that has changed.

        Who writes a chunk once more that is entered as built (see ``_settle``) ends that.
        """
        if state.built:
            return
        if self._ledger.state(job, number).version != state.version:
            raise Changed
        now = self._ledger.find(job.id)
        if now is None or now.generation != job.generation or not now.state.takes_input:
            raise Stop

    def _write(
        self,
        job: Job,
        target: Target,
        reader: PartReader,
        parts: dict[int, Part],
        state: ChunkState,
    ) -> _Built:
        chunk = reader.chunk
        faults: dict[int, Fault] = {}
        slices = {z: blake2b(digest_size=20) for z in chunk.parts}
        cuboids: dict[int, str] = {}
        stored = 0
        most = self._options.strip_bytes // target.channel.dtype.itemsize
        strips: Iterable[Box] = (chunk.box,)
        if job.mode is Mode.SLICES:
            strips = row_strips(chunk.box, target.supercuboid_xyz, most)
        for strip in strips:
            voxels = np.zeros(strip.shape_zyx, target.channel.dtype)
            for z in chunk.parts:
                if z in faults:
                    continue
                fault = self._fill(job, reader, parts.get(z), z, (strip, voxels))
                if fault is not None:
                    faults[z] = fault
            if job.mode is Mode.SLICES:
                for plane, z in zip(voxels, chunk.parts, strict=True):
                    slices[z].update(np.ascontiguousarray(plane).data)
            self._check_current(job, chunk.number, state)
            # What a part held that was replaced goes, but a slice that is skipped is nobody's.
            renews = state.reopened and not (faults and job.on_bad is Policy.SKIP)
            region = target.region(strip, chunk.time_point)
            self._writer.write(target, region, voxels, replace_all=renews)
            cuboids.update(supercuboid_digests(voxels, strip, target.supercuboid_xyz))
            stored += voxels.nbytes
        kept = {
            z: digest.hexdigest()
            for z, digest in slices.items()
            if job.mode is Mode.SLICES and not (z in faults and job.on_bad is Policy.SKIP)
        }
        return _Built(ChunkDigests(kept, cuboids), list(faults.values()), stored)

    def _fill(
        self,
        job: Job,
        reader: PartReader,
        part: Part | None,
        number: int,
        into: tuple[Box, NDArray[Any]],
    ) -> Fault | None:
        """Fill a strip's plane (or all of it) from a part; a part that is no use is a fault."""
        strip, voxels = into
        chunk = reader.chunk
        try:
            if part is None:
                known = self._ledger.fault(job, chunk.number, number)
                raise NotFoundError("It did not come." if known is None else known.error)
            if job.mode is Mode.CHUNKS:
                voxels[...] = reader.box(part)
            else:
                start = strip.start_xyz[1] - chunk.box.start_xyz[1]
                rows = slice(start, start + voxels.shape[1])
                voxels[number - chunk.parts.start] = reader.plane(part)[rows]
        except NDLambdaError as error:
            if error.retryable:
                raise
            if part is not None and not job.closed and isinstance(error, PartGoneError):
                raise Gone(part) from error
            key, etag = ("", "") if part is None else (part.key, part.etag)
            fault = Fault(chunk.number, number, key, error.message, etag)
            if job.on_bad is Policy.FAIL:
                raise Refused(fault) from error
            return fault
        return None
