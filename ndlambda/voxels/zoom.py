"""Nearest-neighbour reading between resolutions: the source voxel of each requested voxel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.space.box import XYZ, Box
from ndlambda.space.pyramid import Level


def source_indices(
    start: int, stop: int, size: int, shift: int, *, centre: bool
) -> NDArray[np.intp]:
    """Return the source index of each voxel of a range along one axis.

    Parameters
    ----------
    start, stop
        Half-open range at the requested resolution.
    size
        Length of the source axis; indices are clipped to it (sizes are rounded up per level).
    shift
        Levels from the source to the requested resolution: positive shrinks (one of 2^shift voxels
        is taken), negative magnifies (each voxel is repeated 2^-shift times).
    centre
        When shrinking, take the middle voxel (images, like PIL's NEAREST) instead of the first
        (labels, like ndstore).
    """
    requested = np.arange(start, stop, dtype=np.intp)
    if shift <= 0:
        source = requested >> -shift
    else:
        source = (requested << shift) + ((1 << shift) >> 1 if centre else 0)
    clipped: NDArray[np.intp] = np.minimum(source, size - 1)
    return clipped


def take_zyx(
    block: NDArray[Any], indices_zyx: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]
) -> NDArray[Any]:
    """Return ``block[z][:, y][:, :, x]`` for three index vectors: axes (z, y, x), a copy."""
    taken: NDArray[Any] = block[np.ix_(*indices_zyx)]
    return taken


def source_axes(
    box: Box, level: Level, base: Level, *, centre: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the source index of each voxel of a box along x, y and z.

    Parameters
    ----------
    box
        At the requested level, zero-based.
    level, base
        The requested level and the level that is read; z scales with x and y only if the two levels
        differ in depth.
    centre
        See ``source_indices``.
    """
    x, y, z = (
        source_indices(lo, hi, size, by, centre=centre)
        for lo, hi, size, by in zip(
            box.start_xyz, box.stop_xyz, base.imagesize_xyz, _shifts(level, base), strict=True
        )
    )
    return x, y, z


def source_box(box: Box, level: Level, base: Level) -> Box:
    """Return the box of a level that holds every source voxel of a requested box."""
    axes = source_axes(box, level, base, centre=True)
    firsts = source_axes(box, level, base, centre=False)
    start: XYZ = (int(firsts[0][0]), int(firsts[1][0]), int(firsts[2][0]))
    stop: XYZ = (int(axes[0][-1]) + 1, int(axes[1][-1]) + 1, int(axes[2][-1]) + 1)
    return Box(start, stop)


def shown_box(box: Box, level: Level, base: Level) -> Box | None:
    """Return the voxels of a level that show a box of another one, chosen as for labels.

    These are the voxels of the image whose ``source_axes`` without ``centre`` are in the box; None
    if there are none.
    """
    shifts = _shifts(level, base)
    x0, y0, z0 = map(_first_shown, box.start_xyz, shifts)
    x1, y1, z1 = map(min, map(_first_shown, box.stop_xyz, shifts), level.imagesize_xyz)
    if x1 <= x0 or y1 <= y0 or z1 <= z0:
        return None
    return Box((x0, y0, z0), (x1, y1, z1))


def _first_shown(source: int, shift: int) -> int:
    """Return the first voxel whose source is not before the given one."""
    return -(-source >> shift) if shift > 0 else source << -shift


def _shifts(level: Level, base: Level) -> XYZ:
    shift = level.resolution - base.resolution
    z_scales = level.imagesize_xyz[2] != base.imagesize_xyz[2]
    return shift, shift, shift if z_scales else 0
