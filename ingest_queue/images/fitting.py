"""Converts voxels to another dtype where every value stays what it is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import DataTypeMismatchError


def may_fit(found: np.dtype, wanted: np.dtype, *, labels: bool) -> bool:
    """Whether voxels of a dtype are taken for a channel without being asked to.

    Labels of any integer type are, as far as each fits: much software writes ids as signed numbers.
    """
    if found == wanted:
        return True
    return labels and (found.kind in "ui" or np.can_cast(found, wanted, "safe"))


def fitted(voxels: NDArray[Any], dtype: np.dtype, where: str) -> NDArray[Any]:
    """Return voxels in another dtype; only floating-point numbers are rounded.

    Raises
    ------
    DataTypeMismatchError
        A value would change; the message names it.
    """
    if np.can_cast(voxels.dtype, dtype, "safe"):
        return voxels.astype(dtype, copy=False)
    with np.errstate(all="ignore"):  # what does not fit is found by comparing
        cast = voxels.astype(dtype)
        if voxels.dtype.kind == dtype.kind == "f":
            changed = np.isinf(cast) & ~np.isinf(voxels)
        else:
            changed = cast.astype(voxels.dtype) != voxels
    if dtype.kind in "ui":
        limits = np.iinfo(dtype)
        changed |= (voxels < limits.min) | (voxels >= limits.max + 1)
    if changed.any():
        value = voxels[changed].flat[0]
        raise DataTypeMismatchError(
            f"{where} has the value {value}, which {dtype.name} cannot hold.",
            dtype=voxels.dtype.name,
            expected=dtype.name,
        )
    return cast
