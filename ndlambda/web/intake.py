"""Request bodies that hold voxels: refused by their length before they are read."""

from ndlambda.errors import PayloadTooLargeError
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
