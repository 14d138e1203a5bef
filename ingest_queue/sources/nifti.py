"""Reads NIfTI-1 and -2 (``.nii``, ``.nii.gz``); transposes x, y, z(, t) to (t,) z, y, x.

Planes in ascending order read a compressed file once from front to back.
"""

from math import prod
from typing import Any, Final

import numpy as np

from ingest_queue.images.damage import needing, reading
from ingest_queue.sources import Options, Place, Source
from ingest_queue.sources.arrays import ArraySource, plan_layout
from ingest_queue.sources.checks import voxel_size
from ingest_queue.sources.file_array import check_end
from ndlambda.errors import InvalidArgumentError, MalformedBodyError

SUFFIXES = (".nii", ".nii.gz")
LACKS = ("level",)

_AXES: Final = {3: "xyz", 4: "xyzt"}
_UNITS: Final = {0: "mm", 1: "m", 2: "mm", 3: "um"}
"""Length units by the header's code; a missing unit means millimetres by convention."""


def matches(place: Place) -> bool:
    """Match by the suffix."""
    return place.is_file(*SUFFIXES)


def open_source(place: Place, options: Options) -> Source:
    """Read the header; see :func:`ingest_queue.sources.open_source`."""
    with needing("nibabel", "Reading NIfTI"):
        import nibabel
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import HeaderDataError

    try:
        with reading(place.text):
            # Else every slab of a compressed file would inflate it from the start.
            image = nibabel.load(place.file, mmap=False, keep_file_open=True)
    except (ImageFileError, HeaderDataError) as error:
        raise MalformedBodyError(f"{place.text} is not a NIfTI file ({error}).") from error
    if not isinstance(image, nibabel.Nifti1Image):
        raise MalformedBodyError(f"{place.text} is not a NIfTI file.")
    if place.file.suffix == ".nii":  # in a compressed one it could only be found by inflating it
        voxels: Any = image.dataobj
        end = voxels.offset + prod(voxels.shape) * voxels.dtype.itemsize
        check_end(place.file, end)
    return _describe(place.text, image, options)


def _describe(where: str, image: Any, options: Options) -> Source:
    shape = tuple(int(n) for n in image.shape)
    axes = options.axes or _AXES.get(len(shape), "")
    if not axes:
        raise InvalidArgumentError(f"{where} has {len(shape)} axes; x, y, z and time are read.")
    stored = image.get_data_dtype()
    if stored.fields is not None:
        raise InvalidArgumentError(f"{where} holds colours ({stored}); one value a voxel is read.")
    header = image.header
    # Not nibabel's units, which knows no other codes of length, nor of time.
    unit = _UNITS.get(int(header["xyzt_units"]) % 8, "")
    # Converted through text: the header's float32 2.2 means 2.2, not 2.2000000477.
    zooms = (float(str(zoom)) for zoom in header.get_zooms()[:3])
    voxelres = voxel_size(dict(zip("xyz", zooms, strict=True)), {}, unit)
    # nibabel's ArrayProxy applies the header's scaling when it is read.
    dtype = _dtype(stored, (image.dataobj.slope, image.dataobj.inter))
    layout = plan_layout(where, axes, shape, options.channel)
    return ArraySource(where, image.dataobj, layout, dtype, voxelres)


def _dtype(stored: np.dtype, slope_inter: tuple[float, float]) -> np.dtype:
    scaled = slope_inter != (1.0, 0.0)
    return np.dtype("<f4") if scaled else stored.newbyteorder("<")
