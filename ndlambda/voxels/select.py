"""Transforms of voxels on reading: window and filter.

Both process an array in pieces, because numpy's intermediate arrays take many bytes per voxel that
no memory budget counts.
"""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PIECE = 1 << 18


def window(array: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Map values from ``low .. high`` to ``0 .. 255``, clipping outside, truncating to uint8.

    If ``high`` is not greater than ``low`` (ndstore: both 0) it is a plain cast, which wraps. The
    result for NaN and values beyond the cast's range is undefined. Any shape and dtype.
    """

    def cast(piece: NDArray[Any]) -> NDArray[np.uint8]:
        if high > low:
            piece = np.clip(piece, low, high).astype(np.float64)
            piece -= low
            piece *= 255.0
            piece /= high - low
        with np.errstate(invalid="ignore"):
            return piece.astype(np.uint8)

    return _in_pieces(array, np.dtype(np.uint8), cast)


def keep_ids(labels: NDArray[Any], ids: Collection[int]) -> NDArray[Any]:
    """Return a copy of labels in which every label not in ids is 0. Any shape, integer dtype."""
    limit = np.iinfo(labels.dtype).max
    wanted = np.array([i for i in ids if i <= limit], dtype=labels.dtype)
    return _in_pieces(
        labels,
        labels.dtype,
        lambda piece: np.where(np.isin(piece, wanted), piece, piece.dtype.type(0)),
    )


def _in_pieces(
    array: NDArray[Any],
    dtype: np.dtype[Any],
    change: Callable[[NDArray[Any]], NDArray[Any]],
) -> NDArray[Any]:
    source, out = array.reshape(-1), np.empty(array.shape, dtype)
    target = out.reshape(-1)
    for start in range(0, source.size, _PIECE):
        piece = slice(start, start + _PIECE)
        target[piece] = change(source[piece])
    return out
