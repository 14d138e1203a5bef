"""The chunks of a job, computed from its extent, so that no list of work is stored.

A chunk is made of whole supercuboids of the volume's grid (cut at the extent's ends), so two chunks
never write one object. Boxes are zero-based voxels of the job's resolution; slices are numbered by
the dataset's z, offset included, as their files are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ndlambda.errors import OutOfBoundsError
from ndlambda.space import grid
from ndlambda.space.box import XYZ, Box

DATA = 0
"""The one part of a chunk that is uploaded as a box of voxels."""

PLANES = 1
"""For faults only: this plus z (zero-based) is the part number of a plane of boxes."""

CHUNK_SUPERCUBOIDS = 2
"""Edge of an uploaded chunk in supercuboids: 16 Mi voxels."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk.

    Attributes
    ----------
    number
        From 0, time slowest, then z, y, x.
    box
        Its voxels, zero-based.
    parts
        Half-open range of the parts it is built from: slice numbers (dataset z), or ``DATA``
        alone.
    """

    number: int
    time_point: int
    box: Box
    parts: range


@dataclass(frozen=True, slots=True)
class ChunkGrid:
    """All chunks of an extent.

    Attributes
    ----------
    box, times
        The extent, zero-based.
    cell_xyz
        Edges of a full chunk: multiples of the supercuboid's, or beyond the extent.
    first_slice
        Dataset z of the volume's first voxel if slices are uploaded, else None.
    """

    box: Box
    times: tuple[int, int]
    cell_xyz: XYZ
    first_slice: int | None

    @classmethod
    def of_slices(
        cls, box: Box, times: tuple[int, int], supercuboid_xyz: XYZ, z_offset: int
    ) -> "ChunkGrid":
        """Return the chunks of an extent uploaded as planes: slabs one supercuboid deep."""
        x, y, z = supercuboid_xyz
        across, down, _ = box.stop_xyz
        return cls(box, times, (-(-across // x) * x, -(-down // y) * y, z), z_offset)

    @classmethod
    def of_chunks(cls, box: Box, times: tuple[int, int], supercuboid_xyz: XYZ) -> "ChunkGrid":
        """Return the chunks of an extent uploaded as boxes of voxels."""
        x, y, z = (edge * CHUNK_SUPERCUBOIDS for edge in supercuboid_xyz)
        return cls(box, times, (x, y, z), None)

    @property
    def _cells(self) -> Box:
        return grid.cell_range(self.box, self.cell_xyz)

    @property
    def count(self) -> int:
        """Number of chunks."""
        return (self.times[1] - self.times[0]) * self._cells.voxels

    @property
    def parts(self) -> int:
        """Number of slices (or boxes)."""
        if self.first_slice is None:
            return self.count
        return (self.times[1] - self.times[0]) * self.box.shape_xyz[2]

    @property
    def edges_xyz(self) -> tuple[list[int], list[int], list[int]]:
        """The lengths of the chunks along each axis, in order."""
        x, y, z = (
            [
                min(stop, (cell + 1) * edge) - max(start, cell * edge)
                for cell in range(start // edge, -(-stop // edge))
            ]
            for start, stop, edge in zip(
                self.box.start_xyz, self.box.stop_xyz, self.cell_xyz, strict=True
            )
        )
        return x, y, z

    def chunk(self, number: int) -> Chunk:
        """Return a chunk.

        Raises
        ------
        OutOfBoundsError
            There is no chunk of this number.
        """
        cells = self._cells
        count = (self.times[1] - self.times[0]) * cells.voxels
        if not 0 <= number < count:
            raise OutOfBoundsError(f"There is no chunk {number}; the last is {count - 1}.")
        across, down, _ = cells.shape_xyz
        t, rest = divmod(number, cells.voxels)
        z, rest = divmod(rest, across * down)
        y, x = divmod(rest, across)
        index = tuple(at + first for at, first in zip((x, y, z), cells.start_xyz, strict=True))
        corner = [i * edge for i, edge in zip(index, self.cell_xyz, strict=True)]
        whole = Box.at((corner[0], corner[1], corner[2]), self.cell_xyz)
        part = whole.intersection(self.box)
        assert part is not None
        return Chunk(number, self.times[0] + t, part, self._parts(part))

    def chunks(self) -> Iterator[Chunk]:
        """Iterate over all chunks in order."""
        return map(self.chunk, range(self.count))

    def of_plane(self, time_point: int, z: int) -> range:
        """Return the chunks, uploaded as boxes, that a plane (zero-based z) intersects.

        Raises
        ------
        OutOfBoundsError
            The plane is not in the extent.
        """
        (_, _, z0), (_, _, z1) = self.box.start_xyz, self.box.stop_xyz
        if not (z0 <= z < z1 and self.times[0] <= time_point < self.times[1]):
            raise OutOfBoundsError(
                f"The plane is outside the job's extent, which has {z1 - z0} planes at the times "
                f"{self.times[0]} to {self.times[1] - 1}."
            )
        across, down, layers = self._cells.shape_xyz
        layer = z // self.cell_xyz[2] - self._cells.start_xyz[2]
        first = ((time_point - self.times[0]) * layers + layer) * across * down
        return range(first, first + across * down)

    def of_slice(self, time_point: int, z: int) -> Chunk:
        """Return the chunk that a slice (dataset z) belongs to.

        Raises
        ------
        OutOfBoundsError
            The extent has no such slice.
        """
        assert self.first_slice is not None, "only jobs in slice mode have slices"
        inside = z - self.first_slice
        (_, _, z0), (_, _, z1) = self.box.start_xyz, self.box.stop_xyz
        if not (z0 <= inside < z1 and self.times[0] <= time_point < self.times[1]):
            raise OutOfBoundsError(
                f"Slice {z} at time {time_point} is outside the job's extent: slices "
                f"{z0 + self.first_slice} to {z1 - 1 + self.first_slice}, times {self.times[0]} "
                f"to {self.times[1] - 1}.",
                slice=z,
                time=time_point,
            )
        cells = self._cells
        slab = inside // self.cell_xyz[2] - cells.start_xyz[2]
        return self.chunk((time_point - self.times[0]) * cells.voxels + slab)

    def _parts(self, box: Box) -> range:
        if self.first_slice is None:
            return range(DATA, DATA + 1)
        return range(box.start_xyz[2] + self.first_slice, box.stop_xyz[2] + self.first_slice)


def row_strips(box: Box, supercuboid_xyz: XYZ, max_voxels: int) -> Iterator[Box]:
    """Cut a box along y into strips of whole supercuboids that fit in memory.

    A strip has at least one row of supercuboids, even if that is over ``max_voxels``.
    """
    height, (width, _, depth) = supercuboid_xyz[1], box.shape_xyz
    rows = max(1, max_voxels // (width * depth * height)) * height
    (x0, y0, z0), (x1, y1, z1) = box.start_xyz, box.stop_xyz
    while y0 < y1:
        end = min(y1, (y0 // rows + 1) * rows)
        yield Box((x0, y0, z0), (x1, end, z1))
        y0 = end
