"""Converts the samples of a pixel to one voxel."""

import numpy as np
from numpy.typing import NDArray

_OPAQUE = 255


def packed(samples: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return one little-endian uint32 a pixel: ``r | g << 8 | b << 16 | a << 24``.

    Parameters
    ----------
    samples
        (..., 3) or (..., 4); a missing alpha is 255.
    """
    rgba = np.full((*samples.shape[:-1], 4), _OPAQUE, np.uint8)
    rgba[..., : samples.shape[-1]] = samples
    return rgba.view("<u4")[..., 0]


def stored_dtype(dtype: np.dtype) -> np.dtype:
    """Return the little-endian voxel dtype for a sample dtype; bilevel is uint8."""
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("<")


def as_voxels(samples: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return bilevel samples as 0 and 255, as every viewer shows them, and others unchanged."""
    if samples.dtype.kind == "b":
        return samples.astype(np.uint8) * np.uint8(255)
    return samples
