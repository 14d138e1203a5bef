"""Covers a box exactly by cells of a regular grid that starts at voxel 0."""

from collections.abc import Iterator
from dataclasses import dataclass

from ndlambda.space import morton
from ndlambda.space.box import XYZ, Box
from ndlambda.space.morton import Morton


@dataclass(frozen=True, slots=True)
class Cell:
    """One grid cell that a box meets.

    Attributes
    ----------
    code
        Morton code of the cell's index.
    box
        The whole cell, in voxels.
    part
        The part of the box in this cell, in voxels; never empty.
    """

    code: Morton
    box: Box
    part: Box


def cell_range(box: Box, cell_xyz: XYZ) -> Box:
    """Return the half-open box of cell indices that a box of voxels touches."""
    (x0, y0, z0), (x1, y1, z1), (cx, cy, cz) = box.start_xyz, box.stop_xyz, cell_xyz
    return Box(
        (x0 // cx, y0 // cy, z0 // cz),
        (-(-x1 // cx), -(-y1 // cy), -(-z1 // cz)),
    )


def cover(box: Box, cell_xyz: XYZ) -> Iterator[Cell]:
    """Iterate over the cells that a box touches, x fastest; their parts tile the box exactly.

    Raises
    ------
    OutOfBoundsError
        A cell index is negative or does not fit a Morton code.
    """
    cells = cell_range(box, cell_xyz)
    codes = morton.plan(cells.start_xyz, cells.stop_xyz)
    (ix0, iy0, iz0), (cx, cy, cz) = cells.start_xyz, cell_xyz
    (x0, y0, z0), (x1, y1, z1) = box.start_xyz, box.stop_xyz
    for dz, plane in enumerate(codes.tolist()):
        oz = (iz0 + dz) * cz
        for dy, row in enumerate(plane):
            oy = (iy0 + dy) * cy
            for dx, code in enumerate(row):
                ox = (ix0 + dx) * cx
                yield Cell(
                    code,
                    Box((ox, oy, oz), (ox + cx, oy + cy, oz + cz)),
                    Box(
                        (max(ox, x0), max(oy, y0), max(oz, z0)),
                        (min(ox + cx, x1), min(oy + cy, y1), min(oz + cz, z1)),
                    ),
                )


def cell_count(box: Box, cell_xyz: XYZ) -> int:
    """Return how many cells a box touches, without listing them."""
    return cell_range(box, cell_xyz).voxels
