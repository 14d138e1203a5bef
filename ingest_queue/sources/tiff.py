"""One multi-page TIFF (``.tif``, ``.tiff``): pages are z, or t and z where the file says so."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest_queue.sources import Source, spatial_shape
from ndlambda.errors import InvalidArgumentError, MalformedBodyError

SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class TiffSource:
    """A stack of pages, or one mapped array where the pages lie uncompressed in a row."""

    path: Path
    pages: Any
    mapped: NDArray[np.generic] | None
    shape_tzyx: tuple[int, int, int, int]
    dtype: np.dtype
    voxelres_xyz: None = None

    def read(self, t: int, z0: int, z1: int) -> NDArray[np.generic]:
        """Read planes: (z, y, x)."""
        if self.mapped is not None:
            return np.ascontiguousarray(self.mapped[t, z0:z1], self.dtype)
        planes = np.empty((z1 - z0, *self.shape_tzyx[2:]), self.dtype)
        first = t * self.shape_tzyx[1]
        for z in range(z0, z1):
            planes[z - z0] = _decoded(self.path, self.pages[first + z])
        return planes


def matches(path: Path) -> bool:
    """Tell by the suffix."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


def open_source(path: Path) -> Source:
    """Read the page headers; see :func:`ingest_queue.sources.open_source`."""
    import tifffile

    try:
        file = tifffile.TiffFile(path)
    except (tifffile.TiffFileError, OSError) as error:
        raise MalformedBodyError(f"{path} is not a TIFF file ({error}).") from error
    with file:
        series = file.series[0]
        shape, axes = tuple(series.shape), series.axes
        if "S" in axes or "C" in axes:
            raise InvalidArgumentError(
                f"{path} has colours or channels (axes {axes}); put one channel a file."
            )
        shape_tzyx = spatial_shape(path, shape)
        mapped = None
        if series.dataoffset is not None:  # as ImageJ writes: one page header, all voxels behind
            mapped = np.memmap(
                path, series.dtype.newbyteorder(file.byteorder), "r", series.dataoffset, shape
            ).reshape(shape_tzyx)
        pages = tuple(series.pages)
    if mapped is None and len(pages) != shape_tzyx[0] * shape_tzyx[1]:
        raise InvalidArgumentError(
            f"{path} has {len(pages)} pages for the shape {shape}; save one plane a page."
        )
    return TiffSource(path, pages, mapped, shape_tzyx, series.dtype.newbyteorder("<"))


def _decoded(path: Path, page: Any) -> NDArray[np.generic]:
    import tifffile

    try:
        # The file is opened for each page: thousands of pages do not hold it open between slabs.
        with tifffile.TiffFile(path) as file:
            return np.asarray(file.pages[page.index].asarray())
    except (tifffile.TiffFileError, OSError, ValueError, RuntimeError) as error:
        raise MalformedBodyError(f"{path} is damaged ({error}).") from error
