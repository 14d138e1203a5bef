"""NIfTI (``.nii``, ``.nii.gz``): axes x, y, z(, t), millimetres, corner in the affine."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from ndlambda.wire.export import Cutout

SUFFIXES = (".nii", ".nii.gz")

_NIFTI1_EDGE: Final = 32767
"""Longest axis of version 1, which more programs support than version 2."""


def write(path: Path, cutout: Cutout) -> None:
    """Write the transposed array; world coordinates are dataset coordinates times voxel size."""
    import nibabel

    millimetres = np.asarray(cutout.voxelres_xyz) * 1e-6
    affine = np.diag([*millimetres, 1.0])
    affine[:3, 3] = millimetres * cutout.corner_xyz
    # nibabel requires an explicit dtype for 64-bit integers, which some readers do not support.
    long = max(cutout.array.shape) > _NIFTI1_EDGE
    kind: Any = nibabel.Nifti2Image if long else nibabel.Nifti1Image
    image = kind(cutout.array.T, affine, dtype=cutout.array.dtype)
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
