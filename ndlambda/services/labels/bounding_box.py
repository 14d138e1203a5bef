"""Bounding boxes of labels, from cuboids that may hold them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.space import morton
from ndlambda.space.box import XYZ, Box

Look = Callable[[NDArray[np.uint64]], Mapping[int, Box | None]]
"""Gives the exact box of a label in each of some cuboids, None where it has no voxel there."""


def cuboids_box(codes: NDArray[np.uint64], cuboid_xyz: XYZ) -> Box:
    """Return the box of voxels that cuboids (at least one) span."""
    index, edges = morton.decode_codes(codes), np.array(cuboid_xyz)
    return _box(index.min(axis=0) * edges, (index.max(axis=0) + 1) * edges)


def mask_box(mask: NDArray[np.bool_], corner_xyz: XYZ) -> Box | None:
    """Return the box of the true voxels of a mask (z, y, x) at a corner; None if none is true."""
    starts, stops = [], []
    for axis in (2, 1, 0):
        others = tuple(other for other in range(3) if other != axis)
        where = np.flatnonzero(mask.any(axis=others))
        if not where.size:
            return None
        starts.append(where[0])
        stops.append(where[-1] + 1)
    corner = np.array(corner_xyz)
    return _box(corner + starts, corner + stops)


def tight_box(codes: NDArray[np.uint64], look: Look) -> Box | None:
    """Return the exact box of a label, looking at the outermost cuboids only.

    A layer of cuboids in which the label has no voxel any more is passed over; None where that is
    so of all.

    Parameters
    ----------
    codes
        Morton codes of cuboids that may hold the label, all that do among them.
    look
        Asked at most once about a cuboid.
    """
    index = morton.decode_codes(codes)
    known: dict[int, Box | None] = {}

    def extreme(axis: int, *, far: bool) -> int | None:
        layers = np.unique(index[:, axis])
        for layer in layers[::-1] if far else layers:
            wanted = codes[index[:, axis] == layer]
            fresh = [code for code in wanted.tolist() if code not in known]
            if fresh:
                known.update(look(np.array(fresh, np.uint64)))
            boxes = [box for code in wanted.tolist() if (box := known[code]) is not None]
            if boxes:
                if far:
                    return max(box.stop_xyz[axis] for box in boxes)
                return min(box.start_xyz[axis] for box in boxes)
        return None

    starts = [extreme(axis, far=False) for axis in range(3)]
    if None in starts:
        return None
    return _box(starts, [extreme(axis, far=True) for axis in range(3)])


def _box(start: Any, stop: Any) -> Box:
    (x0, y0, z0), (x1, y1, z1) = map(int, start), map(int, stop)
    return Box((x0, y0, z0), (x1, y1, z1))
