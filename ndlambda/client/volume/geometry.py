"""The geometry of a channel, from a token's info document."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ndlambda.errors import ChannelNotFoundError, IntegrityError, ResolutionNotFoundError
from ndlambda.space.box import XYZ, Box


@dataclass(frozen=True, slots=True)
class ChannelGeometry:
    """One channel at one resolution; sizes in voxels, voxel size in nanometres.

    Attributes
    ----------
    box
        The whole level in dataset coordinates (offset included).
    supercuboid_xyz
        ndstore's storage unit: 4 cuboids per axis. A channel here has 1, 2 or 4, as it was created;
        4 is a multiple of each, so this grid of large requests suits every channel.
    times
        Half-open range of time points.
    """

    box: Box
    voxelres_xyz: tuple[float, float, float]
    supercuboid_xyz: XYZ
    dtype: np.dtype
    channel_type: str
    times: tuple[int, int]


def read_geometry(info: Mapping[str, Any], channel: str, resolution: int) -> ChannelGeometry:
    """Return the geometry of a channel in an info document.

    Raises
    ------
    ChannelNotFoundError, ResolutionNotFoundError
        The document has no such channel or resolution.
    IntegrityError
        The document is not one of an ndlambda server.
    """
    try:
        return _read(info, channel, resolution)
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"The server's info document cannot be read ({error!r}).") from error


def _read(info: Mapping[str, Any], channel: str, resolution: int) -> ChannelGeometry:
    channels, dataset, level = info["channels"], info["dataset"], str(resolution)
    if channel not in channels:
        known = ", ".join(sorted(channels)) or "none"
        raise ChannelNotFoundError(
            f"No channel {channel!r}; the project has {known}.", known=sorted(channels)
        )
    if level not in dataset["imagesize"]:
        known = ", ".join(sorted(dataset["imagesize"], key=int))
        raise ResolutionNotFoundError(f"No resolution {resolution}; the dataset has {known}.")
    x, y, z = dataset["imagesize"][level]
    ox, oy, oz = dataset["offset"][level]
    vx, vy, vz = dataset["voxelres"][level]
    cx, cy, cz = dataset["cube_dimension"][level]
    start, stop = channels[channel]["timerange"]
    return ChannelGeometry(
        box=Box.at((ox, oy, oz), (x, y, z)),
        voxelres_xyz=(float(vx), float(vy), float(vz)),
        supercuboid_xyz=(4 * cx, 4 * cy, 4 * cz),
        dtype=np.dtype(channels[channel]["datatype"]).newbyteorder("<"),
        channel_type=channels[channel]["channel_type"],
        times=(start, max(stop, start + 1)),  # ndio creates channels with endtime 0: one point
    )
