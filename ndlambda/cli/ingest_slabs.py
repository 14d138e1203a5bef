"""The chunks of a job out of a source, with bounded memory: slab after slab, on disk if need be."""

import os
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ingest_queue.grid import Chunk, ChunkGrid
from ingest_queue.sources import Source
from ndlambda.errors import MalformedBodyError
from ndlambda.space.box import Box, SlicesZYX

MOST_THREADS: Final = 8
_SLABS_SHARE: Final = 4
"""One slab may take this part of the memory: one is read while the last one is sent."""
_PIECES_SHARE: Final = 8
_A_CHUNK_IN_FLIGHT: Final = 5
"""Twice what a thread holds of a chunk (a copy, the frame), and one more that waits."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What may be held at once, in bytes.

    Attributes
    ----------
    most_bytes
        In all, roughly.
    """

    most_bytes: int

    @property
    def slab_bytes(self) -> int:
        """Slabs above this are kept in a temporary file."""
        return self.most_bytes // _SLABS_SHARE

    @property
    def piece_bytes(self) -> int:
        """Planes that are read by one call (one plane at least)."""
        return self.most_bytes // _PIECES_SHARE

    def threads(self, chunk_bytes: int) -> int:
        """Give how many chunks may be on their way at once."""
        room = self.most_bytes // 2 // (_A_CHUNK_IN_FLIGHT * chunk_bytes)
        return max(1, min(MOST_THREADS, room))


@dataclass(frozen=True, slots=True)
class Ready:
    """A chunk whose voxels have been read.

    Attributes
    ----------
    load
        Gives the voxels: (z, y, x), C-ordered.
    """

    chunk: Chunk
    load: Callable[[], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Slabs:
    """A source, cut into the chunks of a job.

    Attributes
    ----------
    source
        The stack; its first voxel is that of the grid's box.
    grid
        The job's chunks.
    dtype
        Of the channel.
    memory
        Bounds.
    on_unreadable
        Called with the chunks of a slab that cannot be read, and the error; it may raise.
    """

    source: Source
    grid: ChunkGrid
    dtype: np.dtype
    memory: Memory
    on_unreadable: Callable[[list[Chunk], MalformedBodyError], None]

    def ready(self, numbers: Iterable[int]) -> Iterator[Ready]:
        """Read the chunks of these numbers (ascending); planes of no such chunk are not read."""
        for (time, start, stop), chunks in groupby(map(self.grid.chunk, numbers), _slab_of):
            wanted = list(chunks)
            try:
                slab = self._read(time - self.grid.times[0], start, stop)
            except MalformedBodyError as error:
                self.on_unreadable(wanted, error)
                continue
            for chunk in wanted:
                yield Ready(chunk, _Loader(slab, self._corner(start), chunk.box))

    def _corner(self, start: int) -> tuple[int, int, int]:
        x, y, _ = self.grid.box.start_xyz
        return x, y, start

    def _read(self, t: int, start: int, stop: int) -> "_Slab":
        x, y, _ = self.grid.box.shape_xyz
        first, plane_bytes = self.grid.box.start_xyz[2], x * y * self.dtype.itemsize
        depth = max(1, min(stop - start, self.memory.piece_bytes // plane_bytes))
        is_large = (stop - start) * plane_bytes > self.memory.slab_bytes
        slab = (_SpooledSlab if is_large else _HeldSlab)((stop - start, y, x), self.dtype)
        for z in range(start, stop, depth):
            end = min(stop, z + depth)
            planes = self.source.read(t, z - first, end - first)
            slab.put(z - start, planes.astype(self.dtype, copy=False))
        return slab


class _Slab(Protocol):
    """Planes (z, y, x) of a source."""

    def put(self, z: int, planes: NDArray[Any]) -> None:
        """Store planes, in ascending order."""
        ...

    def take(self, where: SlicesZYX) -> NDArray[Any]:
        """Give a box, C-ordered; not to be changed."""
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
    """A slab in a file without a name, which is gone with the slab."""

    def __init__(self, shape_zyx: tuple[int, int, int], dtype: np.dtype) -> None:
        self._shape_zyx, self._dtype = shape_zyx, dtype
        self._file = tempfile.TemporaryFile(  # noqa: SIM115 - it is open as long as the slab is there
            prefix="ndlambda-"
        )
        weakref.finalize(self, self._file.close)

    def put(self, z: int, planes: NDArray[Any]) -> None:
        self._file.seek(z * planes[0].nbytes)
        self._file.write(np.ascontiguousarray(planes).data)
        self._file.flush()

    def take(self, where: SlicesZYX) -> NDArray[Any]:
        # Row by row: of a mapped file, all that lies around the rows would be held, too.
        zs, ys, xs = where
        _, height, width = self._shape_zyx
        box = np.empty((zs.stop - zs.start, ys.stop - ys.start, xs.stop - xs.start), self._dtype)
        rows = box.reshape(-1, box.shape[2]).view(np.uint8)
        places = product(range(zs.start, zs.stop), range(ys.start, ys.stop))
        for row, (z, y) in zip(rows, places, strict=True):
            at = ((z * height + y) * width + xs.start) * self._dtype.itemsize
            row[:] = np.frombuffer(os.pread(self._file.fileno(), row.size, at), np.uint8)
        return box


@dataclass(frozen=True, slots=True)
class _Loader:
    slab: _Slab
    corner_xyz: tuple[int, int, int]
    box: Box

    def __call__(self) -> NDArray[Any]:
        return self.slab.take(self.box.slices_zyx(self.corner_xyz))


def _slab_of(chunk: Chunk) -> tuple[int, int, int]:
    return chunk.time_point, chunk.box.start_xyz[2], chunk.box.stop_xyz[2]
