"""Nearest-neighbour reading between resolutions: which source voxel each asked voxel shows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def source_indices(
    start: int, stop: int, size: int, shift: int, *, centre: bool
) -> NDArray[np.intp]:
    """Give the source index of each voxel of a range along one axis.

    Parameters
    ----------
    start, stop
        Half-open range at the asked resolution.
    size
        Length of the source axis; indices are clipped to it (sizes are rounded up by level).
    shift
        Levels from the source to the asked resolution: positive shrinks (one voxel of 2^shift is
        taken), negative magnifies (each voxel is repeated 2^-shift times).
    centre
        When shrinking, take the middle voxel (images, as PIL's NEAREST does) and not the first
        (labels, as ndstore does).
    """
    asked = np.arange(start, stop, dtype=np.intp)
    if shift <= 0:
        source = asked >> -shift
    else:
        source = (asked << shift) + ((1 << shift) >> 1 if centre else 0)
    clipped: NDArray[np.intp] = np.minimum(source, size - 1)
    return clipped


def take_zyx(
    block: NDArray[Any], indices_zyx: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]
) -> NDArray[Any]:
    """Give ``block[z][:, y][:, :, x]`` for three index vectors: axes (z, y, x), a copy."""
    taken: NDArray[Any] = block[np.ix_(*indices_zyx)]
    return taken
