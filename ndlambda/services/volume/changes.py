"""Which cuboids of a stored supercuboid change, and into what."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids import supercuboid
from ndlambda.cuboids.codec import is_zero
from ndlambda.cuboids.layout import CuboidLayout, cuboid_box, needed_slots
from ndlambda.space.grid import Cell
from ndlambda.voxels.paste import paste


def plan_paste(
    existing: memoryview | None, layout: CuboidLayout, cell: Cell, values: NDArray[Any]
) -> Mapping[int, NDArray[Any]]:
    """Return the cuboids of a supercuboid that change when values are pasted over its part.

    Parameters
    ----------
    existing
        All bytes of the supercuboid; None where it is not stored.
    values
        Of the cell's part, (z, y, x); zeros never erase.

    Returns
    -------
    changed
        Slot to whole cuboid (z, y, x), which may be a view of the values.
    """
    x, y, z = cell.box.start_xyz
    changed: dict[int, NDArray[Any]] = {}
    for piece in needed_slots(layout, cell.part.shifted((-x, -y, -z))):
        fresh = values[piece.where]
        if is_zero(fresh):
            continue
        if existing is None and fresh.shape == layout.cuboid_shape_zyx and fresh.dtype.kind != "f":
            changed[piece.slot] = fresh  # a float -0.0 is a zero, and must not be stored as it is
            continue
        cuboid = np.zeros(layout.cuboid_shape_zyx, layout.dtype)
        if existing is not None:
            supercuboid.decode_box(existing, layout, cuboid_box(layout, piece.slot), cuboid)
        if paste(cuboid[piece.box.slices_zyx()], fresh):
            changed[piece.slot] = cuboid
    return changed


def plan_clear(
    existing: memoryview, layout: CuboidLayout, cell: Cell, where: NDArray[np.bool_]
) -> Mapping[int, NDArray[Any]]:
    """Return the cuboids of a supercuboid that change when voxels of its part are set to zero.

    Parameters
    ----------
    existing
        All bytes of the supercuboid.
    where
        Which voxels of the cell's part, (z, y, x).

    Returns
    -------
    changed
        Slot to whole cuboid (z, y, x).
    """
    x, y, z = cell.box.start_xyz
    changed: dict[int, NDArray[Any]] = {}
    for piece in needed_slots(layout, cell.part.shifted((-x, -y, -z))):
        cuboid = np.zeros(layout.cuboid_shape_zyx, layout.dtype)
        supercuboid.decode_box(existing, layout, cuboid_box(layout, piece.slot), cuboid)
        part, cleared = cuboid[piece.box.slices_zyx()], where[piece.where]
        if np.any(part[cleared] != 0):
            part[cleared] = 0
            changed[piece.slot] = cuboid
    return changed
