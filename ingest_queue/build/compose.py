"""Writes the parts of a chunk as supercuboids, strip by strip."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.build.outcomes import (
    PartMissing,
    PartRejected,
    PartReplaced,
    StateChanged,
    Superseded,
)
from ingest_queue.build.parts import PartGoneError, PartReader, PartReplacedError
from ingest_queue.jobs.chunk_state import ChunkState, Fault, Part
from ingest_queue.jobs.digests import ChunkDigests, supercuboid_digests
from ingest_queue.jobs.grid import Chunk, row_strips
from ingest_queue.jobs.job import Job, Mode, Policy
from ingest_queue.jobs.ledger import Ledger
from ingest_queue.jobs.target import Target, VoxelWriter
from ndlambda.batches import ranges_text
from ndlambda.errors import NDLambdaError, NotFoundError
from ndlambda.space.box import Box
from ndlambda.stores.ports import ObjectStore

_MAX_RANGES: Final = 32


@dataclass(slots=True)
class Composed:
    """What was written of one chunk.

    Attributes
    ----------
    faults
        Unusable parts.
    stored_bytes
        Bytes of voxels.
    """

    digests: ChunkDigests
    faults: list[Fault]
    stored_bytes: int


@dataclass(slots=True)
class _Strip:
    """The part of a chunk in memory; voxels without a part are zeros.

    Attributes
    ----------
    deleted
        Slices that were received and do not exist any more, perhaps deleted once stored.
    """

    box: Box
    voxels: NDArray[Any]
    deleted: set[int]


class Composer:
    """Writes the voxels of chunks; idempotent, also when run concurrently.

    Parameters
    ----------
    max_strip_bytes
        Bound on the voxels in memory; at least one row of supercuboids is held.
    """

    def __init__(
        self, ledger: Ledger, drop: ObjectStore, writer: VoxelWriter, max_strip_bytes: int
    ) -> None:
        self._ledger = ledger
        self._drop = drop
        self._writer = writer
        self._max_strip_bytes = max_strip_bytes

    def write(
        self,
        job: Job,
        target: Target,
        chunk: Chunk,
        parts: dict[int, Part],
        state: ChunkState,
    ) -> Composed:
        """Write the voxels of a chunk's parts.

        Parameters
        ----------
        parts, state
            As read before.

        Raises
        ------
        Superseded, StateChanged, PartMissing, PartReplaced, PartRejected
            See ``outcomes``.
        NDLambdaError
            A store failed, or the channel accepts no writes now.
        """
        reader = PartReader(self._drop, target.channel, chunk, job.labels)
        faults: dict[int, Fault] = {}
        deleted = set[int]()
        slices = {z: blake2b(digest_size=20) for z in chunk.parts}
        cuboids: dict[int, str] = {}
        stored = 0
        most = self._max_strip_bytes // target.channel.dtype.itemsize
        strips: Iterable[Box] = (chunk.box,)
        if job.mode is Mode.SLICES:
            strips = row_strips(chunk.box, target.supercuboid_xyz, most)
        for box in strips:
            strip = _Strip(box, np.zeros(box.shape_zyx, target.channel.dtype), deleted)
            for z in chunk.parts:
                if z in faults:
                    continue
                fault = self._fill(job, reader, parts.get(z), z, strip)
                if fault is not None:
                    faults[z] = fault
            if faults and job.on_bad is Policy.FAIL:
                raise PartRejected(_reason(job, chunk, faults), tuple(faults.values()))
            if job.mode is Mode.SLICES:
                for plane, z in zip(strip.voxels, chunk.parts, strict=True):
                    slices[z].update(np.ascontiguousarray(plane).data)
            self._check_current(job, chunk.number, state)
            # Voxels of a replaced part are erased. Not those of a skipped slice, which are not of
            # this job, nor of a slice that is gone, which may be stored.
            spared = faults if job.on_bad is Policy.SKIP else deleted
            renews = state.reopened and not spared
            region = target.region(box, chunk.time_point)
            self._writer.write(target, region, strip.voxels, replace_all=renews)
            cuboids.update(supercuboid_digests(strip.voxels, box, target.supercuboid_xyz))
            stored += strip.voxels.nbytes
        kept = {
            z: digest.hexdigest()
            for z, digest in slices.items()
            if job.mode is Mode.SLICES and not (z in faults and job.on_bad is Policy.SKIP)
        }
        return Composed(ChunkDigests(kept, cuboids), list(faults.values()), stored)

    def _check_current(self, job: Job, number: int, state: ChunkState) -> None:
        """Stop if the job has ended or has a newer generation, or if the chunk has changed.

        Not for a chunk recorded as built: writing it again (see ``ChunkBuilder``) must finish.
        """
        if state.built:
            return
        if self._ledger.state(job, number).version != state.version:
            raise StateChanged
        now = self._ledger.find(job.id)
        if now is None or now.generation != job.generation or not now.state.takes_input:
            raise Superseded

    def _fill(
        self,
        job: Job,
        reader: PartReader,
        part: Part | None,
        number: int,
        strip: _Strip,
    ) -> Fault | None:
        """Fill a plane of a strip (or all of it) from a part; return a fault if it is unusable."""
        chunk = reader.chunk
        try:
            if part is None:
                known = self._ledger.fault(job, chunk.number, number)
                raise NotFoundError(
                    _absence(job, chunk, [number]) if known is None else known.error
                )
            if job.mode is Mode.CHUNKS:
                strip.voxels = reader.box(part)
            else:
                start = strip.box.start_xyz[1] - chunk.box.start_xyz[1]
                rows = slice(start, start + strip.voxels.shape[1])
                strip.voxels[number - chunk.parts.start] = reader.plane(part)[rows]
        except PartReplacedError as error:
            raise PartReplaced(error.part) from error
        except NDLambdaError as error:
            if error.retryable:
                raise
            if part is not None and isinstance(error, PartGoneError):
                if not job.closed:
                    raise PartMissing(part) from error
                strip.deleted.add(number)
            key, etag = ("", "") if part is None else (part.key, part.etag)
            return Fault(chunk.number, number, key, error.message, etag)
        return None


def _reason(job: Job, chunk: Chunk, faults: Mapping[int, Fault]) -> str:
    """Return why a chunk is not stored: all parts that are missing, and the first bad one."""
    absent = [z for z, fault in faults.items() if fault.error == _absence(job, chunk, [z])]
    bad = [fault.error for z, fault in faults.items() if z not in absent]
    more = f"{len(bad) - 1} more cannot be used." if len(bad) > 1 else ""
    return " ".join([*([_absence(job, chunk, absent)] if absent else ()), *bad[:1], more]).strip()


def _absence(job: Job, chunk: Chunk, numbers: Sequence[int]) -> str:
    """Return a message about parts that are missing; of several time points it names the one."""
    what, is_or_are = f"Chunk {chunk.number}", "is"
    if job.mode is Mode.SLICES:
        what = f"Slice{'s' * (len(numbers) > 1)} {ranges_text(numbers, _MAX_RANGES)}"
        is_or_are = "is" if len(numbers) == 1 else "are"
    first, stop = job.times
    if stop - first == 1:
        return f"{what} {is_or_are} missing."
    declared = f"{stop - first} time points ({first} to {stop - 1}) are declared"
    advice = (
        "; those of time point T lie in a folder T, and the manifest's extent of t says which come"
    )
    return (
        f"{what} of time point {chunk.time_point} {is_or_are} missing: {declared}"
        f"{advice if job.mode is Mode.SLICES else ''}."
    )
