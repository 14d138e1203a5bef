"""Writes voxels with several labels as an HDF5 file: the answer of ndstore's ``exceptions``."""

from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ndlambda.wire.codecs.inflate import LEVEL

EXCEPTIONS: Final = "exceptions"


def encode_exceptions(
    points_xyz: NDArray[np.integer], labels: NDArray[np.unsignedinteger]
) -> memoryview:
    """Return a file with one dataset, a row ``x, y, z, label, label, …`` per voxel.

    Numbers are uint32, as ndstore's clients expect, or uint64 if a value does not fit. Without such
    voxels the dataset is ndstore's marker for that: three zeros of uint8.

    Parameters
    ----------
    points_xyz
        (n, 3), absolute.
    labels
        (n, k): the voxel's main label, then the extra ones, padded with zeros.
    """
    import h5py

    out = BytesIO()
    with h5py.File(out, "w") as file:
        if len(points_xyz):
            packed: dict[str, Any] = {"compression": "gzip", "compression_opts": LEVEL}
            file.create_dataset(EXCEPTIONS, data=_rows(points_xyz, labels), **packed)
        else:
            file.create_dataset(EXCEPTIONS, data=np.zeros(3, np.uint8))
    return out.getbuffer()


def _rows(
    points_xyz: NDArray[np.integer], labels: NDArray[np.unsignedinteger]
) -> NDArray[np.unsignedinteger]:
    fits = max(int(points_xyz.max()), int(labels.max())) < 2**32
    dtype = np.dtype("<u4" if fits else "<u8")
    return np.concatenate([points_xyz.astype(dtype), labels.astype(dtype)], axis=1)
