"""Reads the chunks of a job from a source slab by slab, in bounded memory or a temporary file."""

import os
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ingest_queue.jobs.grid import Chunk, ChunkGrid
from ingest_queue.sources import Source
from ndlambda.errors import (
    DataTypeMismatchError,
    MalformedBodyError,
    NDLambdaError,
    NotFoundError,
    PayloadTooLargeError,
    ShapeMismatchError,
)
from ndlambda.space.box import XYZ, Box, SlicesZYX

MAX_THREADS: Final = 8
_SLABS_SHARE: Final = 4
"""One slab may take 1/4 of the memory: the next slab is read while the last one is sent."""
_PIECES_SHARE: Final = 8
_COPIES_IN_FLIGHT: Final = 5
"""Twice what a thread holds of a chunk (a copy, the frame), and one that waits."""

UNREADABLE: Final = (
    MalformedBodyError,
    ShapeMismatchError,
    DataTypeMismatchError,
    NotFoundError,
    PayloadTooLargeError,
    OSError,
)
"""Errors of an unreadable plane. (A tile server that does not answer is not one.)"""


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory limit, in bytes.

    Attributes
    ----------
    max_bytes
        Approximate total.
    """

    max_bytes: int

    @property
    def slab_bytes(self) -> int:
        """Size above which a slab is kept in a temporary file."""
        return self.max_bytes // _SLABS_SHARE

    @property
    def piece_bytes(self) -> int:
        """Size of the planes read by one call (at least one plane)."""
        return self.max_bytes // _PIECES_SHARE

    def threads(self, chunk_bytes: int) -> int:
        """Return how many chunks may be in flight at once."""
        room = self.max_bytes // 2 // (_COPIES_IN_FLIGHT * chunk_bytes)
        return max(1, min(MAX_THREADS, room))


@dataclass(frozen=True, slots=True)
class BadPlane:
    """An unreadable plane of a source: its place in the grid, and the reason."""

    time_point: int
    z: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A chunk whose voxels have been read."""

    chunk: Chunk
    slab: "_Slab"
    corner_xyz: XYZ

    def load(self) -> NDArray[Any]:
        """Return the voxels: (z, y, x), C-ordered, read-only."""
        return self.take(self.chunk.box)

    def take(self, box: Box) -> NDArray[Any]:
        """Return the voxels of a box within the chunk, likewise."""
        return self.slab.take(box.slices_zyx(self.corner_xyz))


@dataclass(frozen=True, slots=True)
class Slabs:
    """A source, cut into the chunks of a job.

    Attributes
    ----------
    source
        The stack; its first voxel is the first of the grid's box.
    grid
        The job's chunks.
    dtype
        Dtype of the channel.
    memory
        The memory limit.
    on_unreadable
        Called with the unreadable planes of a slab, before its chunks are yielded with zeros in
        their place; it may raise.
    """

    source: Source
    grid: ChunkGrid
    dtype: np.dtype
    memory: Memory
    on_unreadable: Callable[[Sequence[BadPlane]], None]

    def ready(self, numbers: Iterable[int]) -> Iterator[Ready]:
        """Read the chunks with these ascending numbers; planes of other chunks are not read."""
        for (time, start, stop), chunks in groupby(map(self.grid.chunk, numbers), _slab_of):
            slab = self._read(time, start, stop)
            x, y, _ = self.grid.box.start_xyz
            for chunk in chunks:
                yield Ready(chunk, slab, (x, y, start))

    def _read(self, time: int, start: int, stop: int) -> "_Slab":
        x, y, _ = self.grid.box.shape_xyz
        plane_bytes = x * y * self.dtype.itemsize
        depth = max(1, min(stop - start, self.memory.piece_bytes // plane_bytes))
        is_large = (stop - start) * plane_bytes > self.memory.slab_bytes
        shape_zyx = (stop - start, y, x)
        slab: _Slab = (
            _SpooledSlab(shape_zyx, self.dtype, self._columns())
            if is_large
            else _HeldSlab(shape_zyx, self.dtype)
        )
        bad: list[BadPlane] = []
        for z in range(start, stop, depth):
            for at, planes in self._planes(time, z, min(stop, z + depth), bad):
                slab.put(at - start, planes.astype(self.dtype, copy=False))
        if bad:
            self.on_unreadable(bad)
        return slab

    def _columns(self) -> list[slice]:
        """Return the x ranges of the chunks, relative to the grid's corner."""
        (x0, _, _), (x1, _, _) = self.grid.box.start_xyz, self.grid.box.stop_xyz
        edge = self.grid.cell_xyz[0]
        cuts = sorted({x0, x1, *range(-(-x0 // edge) * edge, x1, edge)})
        return [slice(start - x0, stop - x0) for start, stop in pairwise(cuts)]

    def _planes(
        self, time: int, start: int, stop: int, bad: list[BadPlane]
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """Iterate over planes in order; a failed read is repeated by halves to find bad planes."""
        first = self.grid.box.start_xyz[2]
        try:
            planes = self.source.read(time - self.grid.times[0], start - first, stop - first)
        except UNREADABLE as error:
            if stop - start > 1:
                half = (start + stop) // 2
                yield from self._planes(time, start, half, bad)
                yield from self._planes(time, half, stop, bad)
                return
            reason = error.message if isinstance(error, NDLambdaError) else str(error)
            bad.append(BadPlane(time, start, reason))
            planes = np.zeros((1, *self.source.shape_tzyx[2:]), self.dtype)
        yield start, planes


class _Slab(Protocol):
    """Planes (z, y, x) of a source."""

    def put(self, z: int, planes: NDArray[Any]) -> None:
        """Store planes, in ascending order."""
        ...

    def take(self, where: SlicesZYX) -> NDArray[Any]:
        """Return a box, C-ordered and read-only."""
        ...


class _HeldSlab:
    """A slab in memory."""

    def __init__(self, shape_zyx: tuple[int, int, int], dtype: np.dtype) -> None:
        self._array = np.empty(shape_zyx, dtype)

    def put(self, z: int, planes: NDArray[Any]) -> None:
        self._array[z : z + len(planes)] = planes

    def take(self, where: SlicesZYX) -> NDArray[Any]:
        return np.ascontiguousarray(self._array[where])


class _SpooledSlab:
    """A slab in an unnamed temporary file, which is deleted with the slab.

    The file stores the columns of chunks one after another, so that few reads fetch a chunk:
    reading row by row from whole planes took a third of the total time. (A mapped file would also
    keep the pages around the rows in memory.)
    """

    def __init__(
        self, shape_zyx: tuple[int, int, int], dtype: np.dtype, columns: Sequence[slice]
    ) -> None:
        self._shape_zyx, self._dtype, self._columns = shape_zyx, dtype, columns
        self._file = tempfile.TemporaryFile(  # noqa: SIM115 - closed when the slab is collected
            prefix="ndlambda-"
        )
        weakref.finalize(self, self._file.close)

    def put(self, z: int, planes: NDArray[Any]) -> None:
        for column in self._columns:
            self._file.seek(self._place(column, z, 0))
            self._file.write(np.ascontiguousarray(planes[:, :, column]).data)
        self._file.flush()

    def take(self, where: SlicesZYX) -> NDArray[Any]:
        zs, ys, xs = where
        column = next(column for column in self._columns if xs.stop <= column.stop)
        inside = slice(xs.start - column.start, xs.stop - column.start)
        box = np.empty((zs.stop - zs.start, ys.stop - ys.start, xs.stop - xs.start), self._dtype)
        rows = np.empty((box.shape[1], column.stop - column.start), self._dtype)
        for z, plane in enumerate(box, zs.start):
            os.preadv(self._file.fileno(), [rows.data], self._place(column, z, ys.start))
            plane[...] = rows[:, inside]
        return box

    def _place(self, column: slice, z: int, y: int) -> int:
        """Return the file offset of a row of a column."""
        depth, height, _ = self._shape_zyx
        width = column.stop - column.start
        voxels = column.start * depth * height + (z * height + y) * width
        return int(voxels * self._dtype.itemsize)


def _slab_of(chunk: Chunk) -> tuple[int, int, int]:
    return chunk.time_point, chunk.box.start_xyz[2], chunk.box.stop_xyz[2]
