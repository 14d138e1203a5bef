"""A source in the dtype of a channel, checked plane by plane."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.fitting import fitted
from ingest_queue.sources import Source, other_files, second_reading


@dataclass(frozen=True, slots=True)
class FittedSource:
    """A source whose voxels are converted; see :class:`ingest_queue.sources.Source`.

    ``read`` raises ``DataTypeMismatchError`` for a plane with a value that would change.
    """

    source: Source
    dtype: np.dtype

    @property
    def shape_tzyx(self) -> tuple[int, int, int, int]:
        """Size in voxels."""
        return self.source.shape_tzyx

    @property
    def voxelres_xyz(self) -> tuple[float, float, float] | None:
        """Voxel size in nanometres, None if unknown."""
        return self.source.voxelres_xyz

    @property
    def labels_allowed(self) -> bool:
        """As of the source."""
        return self.source.labels_allowed

    @property
    def second(self) -> "FittedSource":
        """The same voxels, read by another way if there is one."""
        return FittedSource(second_reading(self.source), self.dtype)

    @property
    def other_files(self) -> tuple[Path, ...]:
        """As of the source."""
        return other_files(self.source)

    def read(self, t: int, z0: int, z1: int) -> NDArray[np.generic]:
        """Read planes: (z, y, x)."""
        planes = self.source.read(t, z0, z1)
        found = np.empty(planes.shape, self.dtype)
        for n, plane in enumerate(planes):
            found[n] = fitted(plane, self.dtype, f"Plane {z0 + n} of the data")
        return found
