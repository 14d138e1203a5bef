"""Multi-page TIFF: one page per plane, t-major, deflate-compressed."""

from pathlib import Path
from typing import Final

from ndlambda.wire.export import Cutout

SUFFIXES = (".tif", ".tiff")

_CLASSIC_LIMIT: Final = 2**32 - 2**25
"""Bytes that 32-bit offsets can address, minus room for the page headers."""


def write(path: Path, cutout: Cutout) -> None:
    """Write the planes with axis names and voxel size."""
    import tifffile

    vx, vy, vz = cutout.voxelres_xyz
    tifffile.imwrite(
        path,
        cutout.array,
        bigtiff=cutout.array.nbytes > _CLASSIC_LIMIT,
        photometric="minisblack",
        compression="zlib",
        compressionargs={"level": 1},
        metadata={
            "axes": "TZYX"[-cutout.array.ndim :],
            "PhysicalSizeX": vx,
            "PhysicalSizeY": vy,
            "PhysicalSizeZ": vz,
            "unit": "nm",
        },
    )
