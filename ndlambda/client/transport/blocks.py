"""Cuts a large box into requests along the server's storage grid."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ndlambda.space.box import XYZ, Box
from ndlambda.space.grid import cover


def box_ranges(box: Box) -> dict[str, str]:
    """Return the query parameters of a box: a half-open range ``start:stop`` per axis."""
    axes = zip("xyz", box.start_xyz, box.stop_xyz, strict=True)
    return {axis: f"{start}:{stop}" for axis, start, stop in axes}


@dataclass(frozen=True, slots=True)
class Block:
    """The part of one request: a box in dataset coordinates and a half-open range of times."""

    box: Box
    times: tuple[int, int]

    @property
    def shape_tzyx(self) -> tuple[int, int, int, int]:
        """Shape of the block's array."""
        return (self.times[1] - self.times[0], *self.box.shape_zyx)

    @property
    def voxels(self) -> int:
        """Number of voxels over all times."""
        return math.prod(self.shape_tzyx)


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The grid of requests of one channel and resolution.

    Attributes
    ----------
    origin_xyz
        The dataset's offset, where the grid starts.
    block_xyz
        Edge lengths of one request: whole supercuboids.
    """

    origin_xyz: XYZ
    block_xyz: XYZ

    def split(self, box: Box, times: tuple[int, int]) -> Iterator[Block]:
        """Iterate over the requests of a box, times slowest, x fastest; they tile it exactly.

        A box that fits into one block is one request wherever it is; several time points of a small
        box share a request.
        """
        budget = math.prod(self.block_xyz)
        if box.voxels <= budget:
            parts = [box]
        else:
            ox, oy, oz = self.origin_xyz
            local = box.shifted((-ox, -oy, -oz))
            parts = [cell.part.shifted(self.origin_xyz) for cell in cover(local, self.block_xyz)]
        depth = max(1, budget // max(part.voxels for part in parts))
        for start in range(times[0], times[1], depth):
            for part in parts:
                yield Block(part, (start, min(start + depth, times[1])))
