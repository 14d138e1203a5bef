"""Uploads of voxels: refused by their length before they are read, then written or painted."""

from typing import Any

from numpy.typing import NDArray

from ndlambda.errors import InvalidArgumentError, PayloadTooLargeError
from ndlambda.model.catalog import Channel
from ndlambda.model.discipline import Discipline
from ndlambda.services.region import Region
from ndlambda.web.routing import Context

_FACTOR = 2
_SLACK_BYTES = 4 << 20


def read_voxel_body(context: Context, voxel_bytes: int) -> bytes:
    """Read the body of an upload whose path promises this many bytes of voxels.

    No format needs twice the voxels and a few megabytes; what declares more is not what the path
    says.

    Raises
    ------
    PayloadTooLargeError
        The body is longer than any honest encoding of the box.
    """
    limit = _FACTOR * voxel_bytes + _SLACK_BYTES
    length = context.request.content_length or 0
    if length > limit:
        raise PayloadTooLargeError(
            f"The body has {length} bytes, but the box that the path names needs {voxel_bytes}.",
            limit=limit,
        )
    return context.request.get_data(cache=False)


def write_voxels(
    context: Context,
    channel: Channel,
    region: Region,
    array: NDArray[Any],
    discipline: Discipline | None = None,
) -> None:
    """Write an upload: images as voxels, labels by painting, which keeps their index.

    Parameters
    ----------
    array
        The region's voxels, with or without the time axis.
    discipline
        How labels meet those that are there; None overwrites.

    Raises
    ------
    InvalidArgumentError
        A discipline for a channel that holds no labels.
    """
    voxels = array.reshape(region.shape_tzyx)
    if channel.is_annotation:
        context.runtime.labels.paint(channel, region, voxels, discipline or Discipline.OVERWRITE)
    elif discipline is None:
        context.runtime.volume.write(channel, region, voxels)
    else:
        raise InvalidArgumentError(
            f"Channel {channel.name!r} holds no labels; discipline= is for annotation channels.",
            channel=channel.name,
        )
