"""How a large box is cut into requests: along the grid that the server stores by."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ndlambda.space.box import XYZ, Box
from ndlambda.space.grid import cover

FRAME_OVERHEAD_BYTES = 16
"""What a blosc frame adds to data that does not compress."""


@dataclass(frozen=True, slots=True)
class Block:
    """One request's share: a box in dataset coordinates and a half-open range of times."""

    box: Box
    times: tuple[int, int]

    @property
    def shape_tzyx(self) -> tuple[int, int, int, int]:
        """Shape of its array."""
        return (self.times[1] - self.times[0], *self.box.shape_zyx)

    @property
    def voxels(self) -> int:
        """Number of voxels over all its times."""
        return math.prod(self.shape_tzyx)


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The grid of requests of one channel and resolution.

    Attributes
    ----------
    origin_xyz
        The dataset's offset, where the grid starts.
    block_xyz
        Edge lengths of one request, whole supercuboids where limits allow that.
    """

    origin_xyz: XYZ
    block_xyz: XYZ

    def split(self, box: Box, times: tuple[int, int]) -> Iterator[Block]:
        """Iterate over the requests for a box, times slowest, x fastest; they tile it exactly.

        A box that fits into one block is one request wherever it lies; small pieces of several
        time points share one.
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


def fitted_block(supercuboid_xyz: XYZ, itemsize: int, max_body_bytes: int | None) -> XYZ:
    """Give the largest block, halved from a supercuboid, whose body fits into a request.

    Halving goes z, y, x in turn, so that a block stays a box of whole cuboids as long as it can.
    """
    x, y, z = supercuboid_xyz
    if max_body_bytes is None:
        return x, y, z
    voxels = max(1, (max_body_bytes - FRAME_OVERHEAD_BYTES) // itemsize)
    edges = [z, y, x]
    axis = 0
    while math.prod(edges) > voxels:
        edges[axis] = max(1, edges[axis] // 2)
        axis = (axis + 1) % 3
    return edges[2], edges[1], edges[0]
