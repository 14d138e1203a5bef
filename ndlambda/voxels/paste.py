"""Writes voxels over voxels by ndstore's rule that zeros never erase."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def paste(target: NDArray[Any], values: NDArray[Any]) -> bool:
    """Copy the non-zero voxels of values into target, in place.

    Parameters
    ----------
    target, values
        Arrays of one shape and dtype. NaN counts as non-zero (as in ndstore).

    Returns
    -------
    changed
        Whether any voxel of target changed its value.
    """
    painted = values != 0
    if not np.any(painted & (values != target)):
        return False
    np.copyto(target, values, where=painted)
    return True
