"""Builds a supercuboid of one level from supercuboids of the next finer level."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.codec import is_zero
from ndlambda.cuboids.layout import CuboidLayout
from ndlambda.space import morton
from ndlambda.space.box import XYZ, Box
from ndlambda.voxels.downsample import Method, downsample


@dataclass(frozen=True, slots=True)
class Halving:
    """The parameters that turn supercuboids of one level into those of the next coarser one.

    Attributes
    ----------
    fine, coarse
        Layouts of the two levels. Each fine cuboid falls into one coarse cuboid.
    factors_xyz
        Fine voxels per coarse voxel, by axis.
    method
        How they are combined.
    bounds
        Zero-based voxels of the fine level; voxels outside contribute to no coarse voxel. None for
        labels, where missing voxels are 0 anyway.
    zero_is_missing_z
        Whether a mean passes over zeros along z; see ``downsample``.
    """

    fine: CuboidLayout
    coarse: CuboidLayout
    factors_xyz: XYZ
    method: Method
    bounds: Box | None
    zero_is_missing_z: bool = False


class CoarseBlock:
    """A supercuboid being filled; only its non-zero cuboids are in memory.

    Parameters
    ----------
    halving
        The parameters.
    code
        Morton code of the supercuboid.

    Attributes
    ----------
    cuboids
        Slot to voxels (z, y, x) in the coarse layout; missing cuboids are zero.
    """

    def __init__(self, halving: Halving, code: int) -> None:
        self._halving = halving
        self._corner_xyz = _corner(code, halving.coarse.supercuboid_xyz)
        self.cuboids: dict[int, NDArray[Any]] = {}

    def add(self, code: int, cuboids: Iterable[tuple[int, NDArray[Any]]]) -> int:
        """Add a supercuboid of the fine level.

        Parameters
        ----------
        code
            Its Morton code.
        cuboids
            Slot and voxels (z, y, x) of its non-zero cuboids.

        Returns
        -------
        voxels
            Number of their voxels inside the volume.
        """
        voxels = 0
        fine = self._halving.fine
        for slot, cuboid in cuboids:
            whole = Box.at(_corner(code * fine.slots + slot, fine.cuboid_xyz), fine.cuboid_xyz)
            bounds = self._halving.bounds
            box = whole if bounds is None else whole.intersection(bounds)
            if box is not None:
                self._add(box.start_xyz, cuboid[box.slices_zyx(whole.start_xyz)])
                voxels += box.voxels
        return voxels

    def _add(self, start_xyz: XYZ, voxels: NDArray[Any]) -> None:
        halved = downsample(
            voxels,
            self._halving.factors_xyz,
            self._halving.method,
            zero_is_missing_z=self._halving.zero_is_missing_z,
        )
        if is_zero(halved):
            return
        layout = self._halving.coarse
        cell, inside = [], []
        for start, factor, corner, edge in zip(
            start_xyz, self._halving.factors_xyz, self._corner_xyz, layout.cuboid_xyz, strict=True
        ):
            index, rest = divmod(start // factor - corner, edge)
            cell.append(index)
            inside.append(rest)
        slot = morton.encode(cell[0], cell[1], cell[2])
        if slot not in self.cuboids:
            self.cuboids[slot] = np.zeros(layout.cuboid_shape_zyx, layout.dtype)
        z, y, x = halved.shape
        part = Box.at((inside[0], inside[1], inside[2]), (x, y, z))
        self.cuboids[slot][part.slices_zyx()] = halved


def _corner(code: int, edges_xyz: XYZ) -> XYZ:
    (x, y, z), (ex, ey, ez) = morton.decode(code), edges_xyz
    return x * ex, y * ey, z * ez
