"""NIfTI-1 and -2 (``.nii``, ``.nii.gz``): axes x, y, z(, t) are turned to (t,) z, y, x."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.sources import Source, spatial_shape
from ndlambda.errors import InvalidArgumentError, MalformedBodyError

SUFFIXES = (".nii", ".nii.gz")

_NANOMETRES: Final = {"meter": 1e9, "mm": 1e6, "micron": 1e3, "unknown": 1e6}
"""Length units of the header; files that name none mean millimetres by custom."""


@dataclass(frozen=True, slots=True)
class NiftiSource:
    """An image read through its file as planes are asked for; see ``Source``.

    Planes in ascending order read a compressed file once from front to back.
    """

    path: Path
    voxels: Any  # nibabel's ArrayProxy: (x, y, z[, t]), scaled as the header says when read
    shape_tzyx: tuple[int, int, int, int]
    dtype: np.dtype
    voxelres_xyz: tuple[float, float, float]

    def read(self, t: int, z0: int, z1: int) -> NDArray[np.generic]:
        """Read planes: (z, y, x)."""
        where: tuple[slice | int, ...] = (slice(None), slice(None), slice(z0, z1), t)
        try:
            planes = np.asarray(self.voxels[where[: len(self.voxels.shape)]])
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise MalformedBodyError(f"{self.path} is damaged ({error}).") from error
        return np.ascontiguousarray(planes.T, self.dtype)


def matches(path: Path) -> bool:
    """Tell by the suffix."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def open_source(path: Path) -> Source:
    """Read the header; see :func:`ingest_queue.sources.open_source`."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        # Without keep_file_open every slab of a compressed file would inflate it from the start.
        image = nibabel.load(path, keep_file_open=True)
    except (ImageFileError, OSError, EOFError, zlib.error) as error:
        raise MalformedBodyError(f"{path} is not a NIfTI file ({error}).") from error
    if not isinstance(image, nibabel.Nifti1Image):
        raise MalformedBodyError(f"{path} is not a NIfTI file.")
    return _describe(path, image)


def _describe(path: Path, image: Any) -> Source:
    shape = tuple(int(n) for n in image.shape)
    if len(shape) not in {3, 4}:
        raise InvalidArgumentError(f"{path} has {len(shape)} axes; x, y, z and time are read.")
    stored = image.get_data_dtype()
    if stored.fields is not None:
        raise InvalidArgumentError(f"{path} holds colours ({stored}); one value a voxel is read.")
    header = image.header
    nanometres = _NANOMETRES[header.get_xyzt_units()[0]]
    # By way of text: the header's float32 2.2 is meant as 2.2, not as 2.2000000477.
    vx, vy, vz = (float(str(zoom)) * nanometres for zoom in header.get_zooms()[:3])
    return NiftiSource(
        path,
        image.dataobj,
        spatial_shape(path, shape[::-1]),
        _dtype(stored, (image.dataobj.slope, image.dataobj.inter)),
        (vx, vy, vz),
    )


def _dtype(stored: np.dtype, slope_inter: tuple[float, float]) -> np.dtype:
    scaled = slope_inter != (1.0, 0.0)
    # float32 is the one floating dtype that channels have.
    return np.dtype("<f4") if scaled or stored.kind == "f" else stored.newbyteorder("<")
