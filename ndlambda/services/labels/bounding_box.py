"""Computes bounding boxes of labels from cuboids that may hold them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.space import morton
from ndlambda.space.box import XYZ, Box

Look = Callable[[NDArray[np.uint64]], Mapping[int, Box | None]]
"""Returns the exact box of a label in each of some cuboids, None where it has no voxel."""

Span = Callable[[NDArray[np.uint64]], Box | None]
"""Returns the box of voxels that cuboids span, None if it is not known."""

_FIRST_LOOKS = 64
"""Cuboids of a layer that are read first; then twice as many, and so on."""


def cuboids_box(codes: NDArray[np.uint64], cuboid_xyz: XYZ) -> Box:
    """Return the box of voxels that spans cuboids (at least one)."""
    index, edges = morton.decode_codes(codes), np.array(cuboid_xyz)
    return _box(index.min(axis=0) * edges, (index.max(axis=0) + 1) * edges)


def enclosing_box(boxes: Iterable[Box | None]) -> Box | None:
    """Return the smallest box around the boxes that are not None; None if all are."""
    found = [box for box in boxes if box is not None]
    if not found:
        return None
    starts, stops = [box.start_xyz for box in found], [box.stop_xyz for box in found]
    return _box(map(min, zip(*starts, strict=True)), map(max, zip(*stops, strict=True)))


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


def tight_box(codes: NDArray[np.uint64], look: Look, span: Span) -> Box | None:
    """Return the exact box of a label, reading the outermost cuboids only.

    A layer of cuboids without a voxel of the label is skipped; None if all are. Of a layer no more
    cuboids are read once a voxel lies at its outer face, as one does in most cuboids of a large
    object.

    Parameters
    ----------
    codes
        Morton codes of cuboids that may hold the label, including all that do.
    look
        Called at most once for each cuboid.
    span
        Returns the box that cuboids span, None if it is not known.
    """
    index = morton.decode_codes(codes)
    known: dict[int, Box | None] = {}

    def extreme(axis: int, *, far: bool) -> int | None:
        layers = np.unique(index[:, axis])
        for layer in layers[::-1] if far else layers:
            wanted = codes[index[:, axis] == layer]
            around = span(wanted)
            face = None if around is None else _end(around, axis, far=far)
            found = outermost(wanted, axis, far=far, face=face)
            if found is not None:
                return found
        return None

    def outermost(
        wanted: NDArray[np.uint64], axis: int, *, far: bool, face: int | None
    ) -> int | None:
        """Return the outermost end of the label in a layer, reading more and more cuboids."""
        ends: list[int] = []
        start, size = 0, _FIRST_LOOKS
        while start < len(wanted) and face not in ends:
            some = wanted[start : start + size].tolist()
            fresh = [code for code in some if code not in known]
            if fresh:
                known.update(look(np.array(fresh, np.uint64)))
            boxes = [known[code] for code in some]
            ends += [_end(box, axis, far=far) for box in boxes if box is not None]
            start, size = start + size, 2 * size
        return (max if far else min)(ends, default=None)

    starts = [extreme(axis, far=False) for axis in range(3)]
    if None in starts:
        return None
    return _box(starts, [extreme(axis, far=True) for axis in range(3)])


def _end(box: Box, axis: int, *, far: bool) -> int:
    return (box.stop_xyz if far else box.start_xyz)[axis]


def _box(start: Any, stop: Any) -> Box:
    (x0, y0, z0), (x1, y1, z1) = map(int, start), map(int, stop)
    return Box((x0, y0, z0), (x1, y1, z1))
