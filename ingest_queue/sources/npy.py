"""NumPy's ``.npy``: (z, y, x), (t, z, y, x) or one plane (y, x), mapped, never unpickled."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest_queue.sources import Source, spatial_shape
from ndlambda.errors import MalformedBodyError

SUFFIXES = (".npy",)


@dataclass(frozen=True, slots=True)
class NpySource:
    """A mapped array; see :class:`ingest_queue.sources.Source`."""

    array: NDArray[np.generic]
    shape_tzyx: tuple[int, int, int, int]
    voxelres_xyz: None = None

    @property
    def dtype(self) -> np.dtype:
        """Little-endian dtype of a voxel."""
        return self.array.dtype.newbyteorder("<")

    def read(self, t: int, z0: int, z1: int) -> NDArray[np.generic]:
        """Read planes: (z, y, x)."""
        return np.ascontiguousarray(self.array[t, z0:z1], self.dtype)


def matches(path: Path) -> bool:
    """Tell by the suffix."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


def open_source(path: Path) -> Source:
    """Map the file; see :func:`ingest_queue.sources.open_source`."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:  # pickled objects, truncated, not npy
        raise MalformedBodyError(f"{path} is not a plain .npy file ({error}).") from error
    shape = spatial_shape(path, array.shape)
    return NpySource(array.reshape(shape), shape)
