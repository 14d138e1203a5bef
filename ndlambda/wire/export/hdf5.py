"""HDF5 in ndstore's layout: ``/{channel}/CUTOUT``, ``CHANNELTYPE`` and ``DATATYPE``."""

from pathlib import Path

from ndlambda.wire.export import Cutout

SUFFIXES = (".h5", ".hdf5")


def write(path: Path, cutout: Cutout) -> None:
    """Write (t,) z, y, x; corner and voxel size are attributes of the group."""
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group(cutout.channel)
        # Level 1: the higher ones cost several times the time for a few percent.
        group.create_dataset("CUTOUT", data=cutout.array, compression="gzip", compression_opts=1)
        text = h5py.string_dtype()
        group.create_dataset("CHANNELTYPE", data=[cutout.channel_type], dtype=text)
        group.create_dataset("DATATYPE", data=[cutout.array.dtype.name], dtype=text)
        group.attrs["corner_xyz"] = cutout.corner_xyz
        group.attrs["voxelres_nm_xyz"] = cutout.voxelres_xyz
