"""Composing chunks: parts are read, decoded and written as supercuboids, strip by strip."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

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
from ndlambda.errors import NDLambdaError, NotFoundError
from ndlambda.space.box import Box
from ndlambda.stores.ports import ObjectStore


@dataclass(slots=True)
class Composed:
    """What was written of one chunk.

    Attributes
    ----------
    faults
        Parts that were no use.
    stored_bytes
        Of voxels.
    """

    digests: ChunkDigests
    faults: list[Fault]
    stored_bytes: int


@dataclass(slots=True)
class _Strip:
    """A part of a chunk that is held at once: where no part came, the voxels are zeros.

    Attributes
    ----------
    gone
        Slices that came and are gone: deleted, perhaps, when they were stored.
    """

    box: Box
    voxels: NDArray[Any]
    gone: set[int]


class Composer:
    """Writes the voxels of chunks; may be repeated, at the same time too.

    Parameters
    ----------
    ledger, drop, writer
        What is known of chunks, where their parts are, and how voxels are stored.
    strip_bytes
        Bound on the voxels held at once; at least one row of supercuboids is.
    """

    def __init__(
        self, ledger: Ledger, drop: ObjectStore, writer: VoxelWriter, strip_bytes: int
    ) -> None:
        self._ledger = ledger
        self._drop = drop
        self._writer = writer
        self._strip_bytes = strip_bytes

    def write(
        self,
        job: Job,
        target: Target,
        chunk: Chunk,
        parts: dict[int, Part],
        state: ChunkState,
    ) -> Composed:
        """Write what the parts of a chunk hold.

        Parameters
        ----------
        parts, state
            What is known of the chunk, as it was read before.

        Raises
        ------
        Stop, Changed, Gone, Replaced, Refused
            See there.
        NDLambdaError
            A store failed, or the channel takes no writes now.
        """
        reader = PartReader(self._drop, target.channel, chunk)
        faults: dict[int, Fault] = {}
        gone = set[int]()
        slices = {z: blake2b(digest_size=20) for z in chunk.parts}
        cuboids: dict[int, str] = {}
        stored = 0
        most = self._strip_bytes // target.channel.dtype.itemsize
        strips: Iterable[Box] = (chunk.box,)
        if job.mode is Mode.SLICES:
            strips = row_strips(chunk.box, target.supercuboid_xyz, most)
        for box in strips:
            strip = _Strip(box, np.zeros(box.shape_zyx, target.channel.dtype), gone)
            for z in chunk.parts:
                if z in faults:
                    continue
                fault = self._fill(job, reader, parts.get(z), z, strip)
                if fault is not None:
                    faults[z] = fault
            if job.mode is Mode.SLICES:
                for plane, z in zip(strip.voxels, chunk.parts, strict=True):
                    slices[z].update(np.ascontiguousarray(plane).data)
            self._check_current(job, chunk.number, state)
            # What a part held that was replaced goes, but a slice that is skipped is nobody's,
            # and one that is gone may be stored.
            spared = faults if job.on_bad is Policy.SKIP else gone
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
        """Let go of a job that has ended or was called again, and of a chunk that has changed.

        Who writes a chunk once more that is entered as built (see ``Builder``) ends that.
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
        """Fill a strip's plane (or all of it) from a part; a part that is no use is a fault."""
        chunk = reader.chunk
        try:
            if part is None:
                known = self._ledger.fault(job, chunk.number, number)
                what = f"Slice {number}" if job.mode is Mode.SLICES else f"Chunk {chunk.number}"
                raise NotFoundError(f"{what} did not come." if known is None else known.error)
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
                strip.gone.add(number)
            key, etag = ("", "") if part is None else (part.key, part.etag)
            fault = Fault(chunk.number, number, key, error.message, etag)
            if job.on_bad is Policy.FAIL:
                raise PartRejected(fault) from error
            return fault
        return None
