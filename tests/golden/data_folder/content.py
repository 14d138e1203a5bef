"""The voxels of the frozen data folder, by arithmetic alone.

Shared by ``make.py``, which once stored them with the code of an older commit, and the tests, which
expect them. So nothing in here may change.
"""

import numpy as np
from numpy.typing import NDArray

XYZ = tuple[int, int, int]

BRAIN_XYZ, BRAIN_OFFSET = (300, 200, 20), (8, 4, 1)
"""A dataset of slices: size and first voxel (x, y, z)."""
TISSUE_XYZ = (150, 140, 90)
"""An isotropic dataset at the origin."""
STRIP_XYZ = (64 * 66, 8, 8)
"""An isotropic dataset of 66 supercuboids of one cuboid each: what is in all of them is large."""
TALL_XYZ = (40, 30, 70)
"""A dataset of slices, two chunks of an ingest by boxes deep."""
STACK_XYZ = (48, 32, 40)
"""Dropped slices, two chunks of an ingest by slices deep; the first slice has the number 1."""
BAD_SLICE = 3
"""Of the stacks with a damaged slice."""
MISSING_SLICE = 40
"""Of the stack that is half there."""

MOVIE_TIMES = (2, 5)
DIM = 20
"""Added to the image ``em`` behind its propagation, where it is not 0."""
DIMMED: tuple[XYZ, XYZ] = ((20, 20, 3), (40, 40, 6))
"""Where (first and last voxel, half-open)."""

SWC = """# a neurite with one branch
1 1 10.5 20.5 3.25 1.5 -1
2 3 12.5 22.5 4.25 1.0 1
3 3 14.5 24.5 5.25 0.75 2
4 3 15.5 21.5 6.25 0.5 2
"""


def _zyx(size_xyz: XYZ) -> tuple[NDArray[np.int64], ...]:
    x, y, z = size_xyz
    return tuple(np.ogrid[:z, :y, :x])


def em() -> NDArray[np.uint8]:
    """Return the image of ``brain``, with a dark corner where nothing is stored."""
    z, y, x = _zyx(BRAIN_XYZ)
    image = (1 + (x // 8 + 3 * (y // 8) + 7 * z) % 250).astype(np.uint8)
    image[:, :, :32] = 0
    return image


def dimmed() -> NDArray[np.uint8]:
    """Return it as it was left: written in a box behind its propagation."""
    image, (first, last) = em(), DIMMED
    (x0, y0, z0), (x1, y1, z1) = (
        tuple(n - offset for n, offset in zip(corner, BRAIN_OFFSET, strict=True))
        for corner in (first, last)
    )
    image[z0:z1, y0:y1, x0:x1] = DIM
    return image


def frame(time: int) -> NDArray[np.uint16]:
    """Return the image of ``movie`` at a time point."""
    z, y, x = _zyx(BRAIN_XYZ)
    return (1000 * time + x // 16 + y // 16 + z).astype(np.uint16)


def density() -> NDArray[np.float32]:
    """Return the probabilities of ``tissue``."""
    z, y, x = _zyx(TISSUE_XYZ)
    return ((x // 16 + y // 16 + z // 16) / 32).astype(np.float32)


def bodies() -> NDArray[np.uint64]:
    """Return the labels of ``tissue``: 1 to 4 in rows of boxes, and one beyond 32 bits."""
    labels = np.zeros(TISSUE_XYZ[::-1], np.uint64)
    for label in range(1, 5):
        labels[10:40, 20:60, 30 * label : 30 * label + 20] = label
    labels[60:70, 100:120, 100:140] = 2**40 + 5
    return labels


def tall() -> NDArray[np.uint16]:
    """Return what the ingest by boxes sends, in two boxes."""
    z, y, x = _zyx(TALL_XYZ)
    return (1 + x // 4 + y // 4 + 10 * z).astype(np.uint16)


def stack() -> NDArray[np.uint8]:
    """Return the slices that were dropped."""
    z, y, x = _zyx(STACK_XYZ)
    return (1 + (x // 4 + y // 4 + 5 * z) % 250).astype(np.uint8)
