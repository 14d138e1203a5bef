"""Multiply labelled voxels as an HDF5 file: what ndstore's ``exceptions`` answers."""

from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ndlambda.wire.codecs.inflate import LEVEL

EXCEPTIONS: Final = "exceptions"


def encode_exceptions(
    points_xyz: NDArray[np.integer], labels: NDArray[np.unsignedinteger]
) -> memoryview:
    """Return the file: one dataset with a row ``x, y, z, label, label, …`` a voxel.

    Numbers are uint32, as ndstore's clients expect, and uint64 where one does not fit. Where there
    are no such voxels the dataset is ndstore's sign of that: three zeros of uint8.

    Parameters
    ----------
    points_xyz
        (n, 3), absolute.
    labels
        (n, k): the voxel's own label, then the extra ones, filled up with zeros.
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
