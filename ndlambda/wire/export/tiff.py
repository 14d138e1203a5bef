"""Multi-page TIFF: one page per plane, t-major, deflate-compressed, with the voxel size.

ImageJ hyperstacks, which Fiji opens with their scale, where ImageJ has the dtype; else OME-TIFF.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from ndlambda.wire.export import Cutout

SUFFIXES = (".tif", ".tiff")

_CLASSIC_LIMIT: Final = 2**32 - 2**25
"""Bytes that 32-bit offsets can address, minus room for the page headers."""
_LARGEST: Final = 2**32 - 1
"""Of both parts of a fraction in a tag."""
_IMAGEJ_DTYPES: Final = frozenset({"uint8", "uint16", "int16", "float32"})
_OME_DTYPES: Final = frozenset({"int8", "int32", "uint32"}) | _IMAGEJ_DTYPES


def write(path: Path, cutout: Cutout) -> None:
    """Write the planes with axis names and voxel size.

    ImageJ's unit is ``nm``: its resolution is pixels per nanometre in x and y, its spacing
    nanometres in z. 64-bit labels, which OME does not have either, are described in the form of
    tifffile under OME's names.
    """
    import tifffile

    array, metadata = cutout.array, {"axes": "TZYX"[-cutout.array.ndim :]}
    sizes: dict[str, Any] = {}
    for axis, edge in zip("XYZ", cutout.voxelres_xyz, strict=True):
        sizes |= {f"PhysicalSize{axis}": edge, f"PhysicalSize{axis}Unit": "nm"}
    is_large = array.nbytes > _CLASSIC_LIMIT
    form: dict[str, Any] = {"metadata": metadata | sizes}
    densities = [_per_nanometre(edge) for edge in cutout.voxelres_xyz[:2]]
    has_scale = None not in densities and array.shape[-1] > 1  # tifffile drops a last axis of 1
    if array.dtype.name in _IMAGEJ_DTYPES and not is_large and has_scale:
        scale = {"spacing": cutout.voxelres_xyz[2], "unit": "nm"}
        form = {"imagej": True, "metadata": metadata | scale}
        form |= {"resolution": tuple(densities), "resolutionunit": "NONE"}
    elif array.dtype.name in _OME_DTYPES:
        form["ome"] = True
    tifffile.imwrite(
        path,
        array,
        bigtiff=is_large,
        photometric="minisblack",
        compression="zlib",
        compressionargs={"level": 1},
        **form,
    )


def _per_nanometre(edge: float) -> tuple[int, int] | None:
    """Return the pixels in a nanometre as a fraction for a tag; None if no fraction is near."""
    length = Fraction(repr(edge))
    if max(length.numerator, length.denominator) > _LARGEST:
        length = length.limit_denominator(10**6)
    return (length.denominator, length.numerator) if 0 < length.numerator <= _LARGEST else None
