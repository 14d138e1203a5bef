"""Reads request bodies that carry voxels, and writes the voxels.

A body is sent with the request, or was uploaded before it because Lambda could not carry it
(``?upload=ID``). Either is refused by its length before it is read.
"""

from dataclasses import dataclass
from io import RawIOBase
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from werkzeug.wrappers import Request

from ndlambda.errors import InvalidArgumentError, MalformedBodyError, PayloadTooLargeError
from ndlambda.model.catalog import Channel
from ndlambda.model.discipline import Discipline
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.transfers import Upload
from ndlambda.web.request.json_body import narrow_limit
from ndlambda.web.routing import Context, QueryParameter

UPLOAD: Final = QueryParameter(
    "upload", "id of an upload, which takes the place of the body; send none"
)

_MAX_EXPANSION: Final = 2
_SLACK_BYTES: Final = 4 << 20
_WINDOW_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A request body that has not been read yet.

    Attributes
    ----------
    upload
        The earlier upload that replaces the body, or None.
    size_bytes
        Its length; the largest allowed length if the request does not say.
    media_type
        Its content type, without parameters.
    """

    context: Context
    upload: Upload | None
    size_bytes: int
    media_type: str

    def read(self) -> memoryview:
        """Return the body, read-only. Call it once.

        Raises
        ------
        MalformedBodyError
            The body is shorter than its declared length.
        UploadNotFoundError
            The upload was announced but never sent.
        """
        if self.upload is not None:
            return self.context.runtime.uploads.read(self.upload)
        request = self.context.request
        if request.content_length is None:
            return memoryview(request.get_data(cache=False))
        return _read_stream(request, request.content_length)

    def discard(self) -> None:
        """Delete the upload once it has been used."""
        if self.upload is not None:
            self.context.runtime.uploads.discard(self.upload)


def open_body(
    context: Context, channel: Channel, limit_bytes: int, needed_bytes: int | None = None
) -> RequestBody:
    """Return the body of a request or its earlier upload; a body that is too long is refused.

    Parameters
    ----------
    channel
        The channel to write; the caller may write to it.
    limit_bytes
        The longest accepted body.
    needed_bytes
        The size that the path implies, for the error message.

    Raises
    ------
    PayloadTooLargeError
        The body is longer than the limit.
    UploadNotFoundError
        The upload is not the caller's for this channel, or no longer exists.
    InvalidArgumentError
        The request has both an upload and a body.
    """
    upload_id = context.request.args.get("upload")
    length = context.request.content_length
    is_unknown = context.request.headers.get("Transfer-Encoding") is not None
    upload = None
    if upload_id is not None:
        if length or is_unknown:
            raise InvalidArgumentError("An upload takes the place of the body; send no body.")
        upload = context.runtime.uploads.find(upload_id, context.principal.user_id, channel)
        length = upload.size_bytes
    if length is not None and length > limit_bytes:
        most = "" if needed_bytes is None else f" what the path names needs {needed_bytes};"
        raise PayloadTooLargeError(
            f"The body has {length} bytes;{most} at most {limit_bytes} are read here.",
            limit=limit_bytes,
        )
    assumed_bytes = min(limit_bytes, context.runtime.settings.max_request_bytes)
    narrow_limit(context.request, assumed_bytes if length is None else limit_bytes)
    return RequestBody(
        context,
        upload,
        assumed_bytes if length is None else length,
        context.request.mimetype if upload is None else upload.media_type,
    )


def open_voxels(context: Context, channel: Channel, voxel_bytes: int) -> RequestBody:
    """Return the body of a request whose path implies this many bytes of voxels.

    No format needs more than twice the voxels plus a few megabytes; a longer body does not match
    the path. Raises as ``open_body``.
    """
    return open_body(context, channel, _MAX_EXPANSION * voxel_bytes + _SLACK_BYTES, voxel_bytes)


def _read_stream(request: Request, length: int) -> memoryview:
    """Read a body of known length into one preallocated buffer."""
    whole = np.empty(length, np.uint8).data
    stream = cast("RawIOBase", request.stream)
    filled = 0
    while filled < length:
        count = stream.readinto(whole[filled : filled + _WINDOW_BYTES])
        if not count:
            raise MalformedBodyError(f"The body ended after {filled} of {length} bytes.")
        filled += count
    return whole.toreadonly()


def write_voxels(
    context: Context,
    channel: Channel,
    region: Region,
    array: NDArray[Any],
    discipline: Discipline | None = None,
) -> None:
    """Write uploaded voxels: images as they are, labels by painting, which updates their index.

    Parameters
    ----------
    array
        The region's voxels, with or without the time axis.
    discipline
        How new labels combine with stored ones; None overwrites.

    Raises
    ------
    InvalidArgumentError
        There is a discipline, but the channel holds no labels.
    """
    voxels = array.reshape(region.shape_tzyx)
    if channel.is_annotation:
        context.runtime.annotation.labels.paint(
            channel, region, voxels, discipline or Discipline.OVERWRITE
        )
    elif discipline is None:
        context.runtime.volume.write(channel, region, voxels)
    else:
        raise InvalidArgumentError(
            f"Channel {channel.name!r} holds no labels; discipline= is for annotation channels.",
            channel=channel.name,
        )
