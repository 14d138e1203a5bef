"""What a reader may ask to be done with voxels on the way out: window and filter."""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray


def window(array: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Map values from ``low .. high`` to ``0 .. 255``, clipping outside, truncating to uint8.

    ``low == high == 0`` is ndstore's plain cast, which wraps. Any shape and dtype.
    """
    if high <= low:
        cast: NDArray[np.uint8] = array.astype(np.uint8)
        return cast
    clipped = np.clip(array, low, high).astype(np.float64)
    clipped -= low
    clipped *= 255.0
    clipped /= high - low
    scaled: NDArray[np.uint8] = clipped.astype(np.uint8)
    return scaled


def keep_ids(labels: NDArray[Any], ids: Collection[int]) -> NDArray[Any]:
    """Give a copy of labels in which every label outside ids is 0. Any shape, integer dtype."""
    limit = np.iinfo(labels.dtype).max
    wanted = np.array([i for i in ids if i <= limit], dtype=labels.dtype)
    return np.where(np.isin(labels, wanted), labels, labels.dtype.type(0))
