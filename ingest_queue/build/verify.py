"""Verifies a complete job: compares stored voxels with the digests taken when it was built.

The proof is a chain: voxels as received -> digests of slices and supercuboids -> digest of the
chunk, in its row -> job root. Each link is checked, voxels are read again from the store, and every
difference is reported with its box, so that it can be inspected or ingested again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest_queue.jobs.chunk_state import ChunkState
from ingest_queue.jobs.digests import ChunkDigests, digests_key, root_digest, voxel_digest
from ingest_queue.jobs.grid import Chunk, row_strips
from ingest_queue.jobs.job import Job, Mode
from ingest_queue.jobs.ledger import Ledger
from ingest_queue.jobs.target import Target, VoxelWriter
from ndlambda.errors import IntegrityError, InvalidStateError, OutOfBoundsError
from ndlambda.services.catalog.service import Catalog
from ndlambda.space.box import Box
from ndlambda.space.grid import cover
from ndlambda.stores.ports import ObjectStore

STRIP_VOXELS = 1 << 25
"""Voxels read at once; at least one row of supercuboids."""


class Link(StrEnum):
    """A link of the proof."""

    ROOT = "root"
    CHUNK = "chunk"
    DIGESTS = "digests"
    SLICE = "slice"
    SUPERCUBOID = "supercuboid"


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between the store and what the job wrote.

    Attributes
    ----------
    chunk
        Its number; None for the whole job.
    time_point, box
        The place, in dataset coordinates (offset included).
    reason
        One sentence.
    expected, found
        The digests, if digests differ; else empty.
    """

    link: Link
    chunk: int | None
    time_point: int
    box: Box
    reason: str
    expected: str = ""
    found: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of checking one strip of a chunk.

    Attributes
    ----------
    strips
        Number of strips of the chunk.
    supercuboids
        Digests of the voxels stored now, by box in dataset coordinates.
    """

    strips: int
    supercuboids: dict[Box, str]
    differences: list[Difference]


class Verifier:
    """Verifies jobs; read-only, at any time.

    Parameters
    ----------
    max_strip_voxels
        Bound on the voxels in memory.
    """

    def __init__(
        self,
        ledger: Ledger,
        objects: ObjectStore,
        catalog: Catalog,
        writer: VoxelWriter,
        max_strip_voxels: int = STRIP_VOXELS,
    ) -> None:
        self._ledger = ledger
        self._objects = objects
        self._catalog = catalog
        self._writer = writer
        self._max_strip_voxels = max_strip_voxels

    def check(self, job: Job) -> Iterator[Difference]:
        """Check a whole job and iterate over the differences.

        Raises
        ------
        InvalidStateError
            The job is not complete, or its channel was deleted.
        """
        target, root = self._open(job), self.check_root(job)
        yield from root
        for chunk in target.grid(job).chunks():
            yield from self._check_whole(job, target, chunk)

    def check_root(self, job: Job) -> list[Difference]:
        """Check that all chunks are recorded and their digests make the job root.

        Raises
        ------
        InvalidStateError
            As ``check``.
        """
        target = self._open(job)
        digests = {n: s.digest for n, s in self._ledger.states(job) if s.built}
        expected, found = job.digest, root_digest(digests[n] for n in sorted(digests))
        if len(digests) == target.grid(job).count and expected == found:
            return []
        reason = "The digests of the chunks do not make the job root."
        whole = _shifted(job.box, target)
        return [Difference(Link.ROOT, None, job.times[0], whole, reason, expected, found)]

    def check_strip(self, job: Job, number: int, strip: int = 0) -> Checked:
        """Check one strip of a chunk: a bounded amount of work.

        Digests of slices are checked only for chunks of one strip (by ``check`` always).

        Raises
        ------
        InvalidStateError
            As ``check``.
        OutOfBoundsError
            There is no such chunk or strip.
        """
        target = self._open(job)
        chunk = target.grid(job).chunk(number)
        strips = list(row_strips(chunk.box, target.supercuboid_xyz, self._max_strip_voxels))
        if not 0 <= strip < len(strips):
            raise OutOfBoundsError(f"Chunk {number} has the strips 0 to {len(strips) - 1}.")
        if len(strips) == 1:
            return self._check_strips(job, target, chunk, strips)
        known, differences = self._known(job, target, chunk)
        checked = Checked(len(strips), {}, differences if strip == 0 else [])
        self._compare(target, chunk, strips[strip], known, checked)
        return checked

    def _check_whole(self, job: Job, target: Target, chunk: Chunk) -> list[Difference]:
        strips = list(row_strips(chunk.box, target.supercuboid_xyz, self._max_strip_voxels))
        return self._check_strips(job, target, chunk, strips).differences

    def _check_strips(self, job: Job, target: Target, chunk: Chunk, strips: list[Box]) -> Checked:
        known, differences = self._known(job, target, chunk)
        checked = Checked(len(strips), {}, differences)
        planes = {z: blake2b(digest_size=20) for z in chunk.parts if job.mode is Mode.SLICES}
        for strip in strips:
            voxels = self._compare(target, chunk, strip, known, checked)
            for plane, digest in zip(voxels, planes.values(), strict=False):
                digest.update(np.ascontiguousarray(plane).data)
        if known is None:
            return checked
        (x0, y0, z0), (x1, y1, _) = chunk.box.start_xyz, chunk.box.stop_xyz
        for z, digest in planes.items():
            expected, found = known.slices.get(z), digest.hexdigest()
            if expected not in {None, found}:  # a skipped slice has no digest
                at = z0 + z - chunk.parts.start
                box = _shifted(Box((x0, y0, at), (x1, y1, at + 1)), target)
                why = f"Slice {z} is stored with other voxels than were received."
                checked.differences.append(
                    Difference(
                        Link.SLICE, chunk.number, chunk.time_point, box, why, expected or "", found
                    )
                )
        return checked

    def _open(self, job: Job) -> Target:
        if not job.state.is_complete:
            raise InvalidStateError(
                f"Ingest job {job.id} is {job.state}; it is verified when it is complete.",
                job=job.id,
                state=str(job.state),
            )
        return Target.of(job, self._catalog)

    def _known(
        self, job: Job, target: Target, chunk: Chunk
    ) -> tuple[ChunkDigests | None, list[Difference]]:
        """Return the digests of a chunk, and what is wrong with them."""
        state: ChunkState = self._ledger.state(job, chunk.number)
        box = _shifted(chunk.box, target)

        def differs(link: Link, reason: str, expected: str = "", found: str = "") -> Difference:
            at = chunk.time_point
            return Difference(link, chunk.number, at, box, reason, expected, found)

        if not state.built:
            return None, [differs(Link.CHUNK, "The chunk is not recorded as stored.")]
        stored = self._objects.get(digests_key(job.id, chunk.number, state.digest))
        if stored is None:
            return None, [differs(Link.DIGESTS, "The digests of the chunk are gone.")]
        try:
            known = ChunkDigests.decode(stored.data)
        except IntegrityError as error:
            return None, [differs(Link.DIGESTS, error.message)]
        found = known.digest
        if found != state.digest:
            reason = "The digests of the chunk are not those of its row."
            return known, [differs(Link.DIGESTS, reason, state.digest, found)]
        return known, []

    def _compare(
        self,
        target: Target,
        chunk: Chunk,
        strip: Box,
        known: ChunkDigests | None,
        checked: Checked,
    ) -> NDArray[Any]:
        """Read a strip, add its digests and differences to ``checked``, and return its voxels."""
        # Else other resolutions would be shown where the job's own stores nothing.
        channel = replace(target.channel, resolution=target.level.resolution)
        own = replace(target, channel=channel)
        voxels, damaged = self._read(own, strip, chunk.time_point)
        for cell in cover(strip, target.supercuboid_xyz):
            box = _shifted(cell.part, target)
            found, reason = "", "The supercuboid is stored with other voxels than were received."
            if cell.code in damaged:
                reason = damaged[cell.code]
            else:
                piece = voxels[cell.part.slices_zyx(strip.start_xyz)]
                found = checked.supercuboids[box] = voxel_digest(piece)
            if known is None:
                continue
            expected = known.supercuboids.get(cell.code)
            if expected not in {None, found}:  # a quarantined chunk has none
                checked.differences.append(
                    Difference(
                        Link.SUPERCUBOID,
                        chunk.number,
                        chunk.time_point,
                        box,
                        reason,
                        expected or "",
                        found,
                    )
                )
        return voxels

    def _read(
        self, target: Target, strip: Box, time_point: int
    ) -> tuple[NDArray[Any], dict[int, str]]:
        """Read a strip, its supercuboids side by side; where one is damaged, one by one.

        Returns the voxels, zero where they are damaged, and the reasons by Morton code.
        """
        try:
            return self._writer.read(target, target.region(strip, time_point)), {}
        except IntegrityError:
            voxels = np.zeros(strip.shape_zyx, target.channel.dtype)
        damaged: dict[int, str] = {}
        for cell in cover(strip, target.supercuboid_xyz):
            piece = voxels[cell.part.slices_zyx(strip.start_xyz)]
            try:
                piece[...] = self._writer.read(target, target.region(cell.part, time_point))
            except IntegrityError as error:
                damaged[cell.code] = error.message
        return voxels, damaged


def _shifted(box: Box, target: Target) -> Box:
    return box.shifted(target.level.offset_xyz)
