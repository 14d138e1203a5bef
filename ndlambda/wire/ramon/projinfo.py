"""ndstore's ``projinfo``: a project's catalogue entry as an HDF5 file."""

import io
from collections.abc import Sequence

import numpy as np

from ndlambda.model.catalog import Channel, Dataset, Project


def encode_projinfo(project: Project, dataset: Dataset, channels: Sequence[Channel]) -> bytes:
    """Return the file, with the groups PROJECT, DATASET and CHANNELS as in ndstore."""
    import h5py

    text = h5py.string_dtype()
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:

        def put_text(path: str, value: str) -> None:
            file.create_dataset(path, (1,), dtype=text, data=[value])

        put_text("PROJECT/NAME", project.name)
        put_text("PROJECT/HOST", project.host)
        put_text("PROJECT/ND_VERSION", project.nd_version)
        put_text("PROJECT/SCHEMA_VERSION", project.schema_version)
        put_text("DATASET/NAME", dataset.name)
        levels = dataset.pyramid.all_levels()
        file["DATASET/RESOLUTIONS"] = np.array([level.resolution for level in levels])
        for level in levels:
            file[f"DATASET/IMAGE_SIZE/{level.resolution}"] = np.array(level.imagesize_xyz)
            file[f"DATASET/OFFSET/{level.resolution}"] = np.array(level.offset_xyz)
            file[f"DATASET/VOXELRES/{level.resolution}"] = np.array(level.voxelres_xyz)
            file[f"DATASET/CUBE_DIMENSION/{level.resolution}"] = np.array(level.cuboid_xyz)
        for channel in channels:
            group = f"CHANNELS/{channel.name}"
            put_text(f"{group}/NAME", channel.name)
            put_text(f"{group}/TYPE", channel.channel_type.value)
            put_text(f"{group}/DATATYPE", channel.datatype.value)
            file[f"{group}/RESOLUTION"] = np.uint8(channel.resolution)
            file[f"{group}/READONLY"] = channel.readonly
            file[f"{group}/EXCEPTIONS"] = channel.exceptions
            file[f"{group}/PROPAGATE"] = np.uint8(channel.propagate)
            file[f"{group}/DEFAULT"] = channel.default
            file[f"{group}/WINDOWRANGE"] = np.array([channel.startwindow, channel.endwindow])
            file[f"{group}/TIMERANGE"] = np.array([channel.starttime, channel.endtime])
    return buffer.getvalue()
