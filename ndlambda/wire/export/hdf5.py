"""HDF5 in ndstore's layout: ``/{channel}/CUTOUT``, ``CHANNELTYPE`` and ``DATATYPE``."""

from pathlib import Path

import numpy as np

from ndlambda.wire.export import Cutout

SUFFIXES = (".h5", ".hdf5")


def write(path: Path, cutout: Cutout) -> None:
    """Write (t,) z, y, x; corner and voxel size are attributes of the group.

    The voxels have their size (z, y, x), too, as CREMI's files (``resolution``, nm) and those of
    Fiji and ilastik (``element_size_um``) have it.
    """
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group(cutout.channel)
        # Level 1: the higher ones cost several times the time for a few percent.
        voxels = group.create_dataset(
            "CUTOUT", data=cutout.array, compression="gzip", compression_opts=1
        )
        zyx = np.asarray(cutout.voxelres_xyz[::-1])
        voxels.attrs["resolution"] = zyx
        voxels.attrs["element_size_um"] = zyx / 1000
        text = h5py.string_dtype()
        group.create_dataset("CHANNELTYPE", data=[cutout.channel_type], dtype=text)
        group.create_dataset("DATATYPE", data=[cutout.array.dtype.name], dtype=text)
        group.attrs["corner_xyz"] = cutout.corner_xyz
        group.attrs["voxelres_nm_xyz"] = cutout.voxelres_xyz
