"""Tells images of grey values from labels, by statistics of neighbouring voxels."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_MIN_PAIRS: Final = 1 << 14
_MAX_EQUAL: Final = 0.25
_MIN_PER_VALUE: Final = 4
_MIN_CORRELATION: Final = 0.1
_MIN_STEPS: Final = 16
_WINDOW: Final = 512


def middle(plane: NDArray[Any]) -> NDArray[Any]:
    """Return a view of the middle of a plane (y, x), 512 voxels wide and high at most."""
    y, x = (max(0, edge - _WINDOW) // 2 for edge in plane.shape)
    return plane[y : y + _WINDOW, x : x + _WINDOW]


def is_plainly_grey(planes: NDArray[Any]) -> bool:
    """Return whether voxels are grey values of an image, beyond doubt; never for small samples.

    Labels are regions: where each occurs at least 4 times in a plane, many of its neighbours along
    x are equal to it (half of them in a square of 2 x 2). Grey values of microscopy differ from
    their neighbours by noise, so that less than a quarter are equal, but not by much: neighbours
    are correlated, which ids in any order (random ones, say) are not. Their differences vary, which
    those of a ramp do not. All of this must hold. Masks, probability maps, images of few levels and
    images that are noise alone are taken for labels.

    Parameters
    ----------
    planes
        (z, y, x), integers; 0 is background and is left out.
    """
    first, second = planes[..., :-1], planes[..., 1:]
    both = (first != 0) & (second != 0)
    first, second = first[both].astype(np.float64), second[both].astype(np.float64)
    if first.size < _MIN_PAIRS or np.mean(first == second) >= _MAX_EQUAL:
        return False
    per_value = min(plane.size / max(1, np.unique(plane).size) for plane in planes)
    if per_value < _MIN_PER_VALUE or np.unique(second - first).size < _MIN_STEPS:
        return False
    return float(np.corrcoef(first, second)[0, 1]) >= _MIN_CORRELATION
