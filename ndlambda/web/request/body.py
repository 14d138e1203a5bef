"""Bodies that bring voxels, read in one place, and what becomes of the voxels.

A body is the request's own, or was uploaded ahead of it past what Lambda carries (``?upload=ID``).
Either is refused by its length before it is read.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from werkzeug.wrappers import Request

from ndlambda.errors import InvalidArgumentError, MalformedBodyError, PayloadTooLargeError
from ndlambda.model.catalog import Channel
from ndlambda.model.discipline import Discipline
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.transfers import Upload
from ndlambda.web.routing import Context, QueryParameter

UPLOAD: Final = QueryParameter(
    "upload", "id of an upload, which takes the place of the body; send none"
)

_FACTOR: Final = 2
_SLACK_BYTES: Final = 4 << 20
_WINDOW_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A body that was not read yet.

    Attributes
    ----------
    upload
        Where it was uploaded ahead, else None.
    size_bytes
        Its length; where a request does not say, the most that it may be.
    media_type
        Its content type, without parameters.
    """

    context: Context
    upload: Upload | None
    size_bytes: int
    media_type: str

    def read(self) -> memoryview:
        """Return the body, read-only; once.

        Raises
        ------
        MalformedBodyError
            It is shorter than it said.
        UploadNotFoundError
            It was announced, but did not come.
        """
        if self.upload is not None:
            return self.context.runtime.uploads.read(self.upload)
        request = self.context.request
        if request.content_length is None:
            request.max_content_length = self.size_bytes
            return memoryview(request.get_data(cache=False))
        return _read_stream(request, request.content_length)

    def discard(self) -> None:
        """Delete what was uploaded ahead, since it has been used."""
        if self.upload is not None:
            self.context.runtime.uploads.discard(self.upload)


def open_intake(
    context: Context, channel: Channel, limit_bytes: int, needed_bytes: int | None = None
) -> RequestBody:
    """Return the body of a request, or what was uploaded ahead of it, refused if it is too long.

    Parameters
    ----------
    channel
        Where it goes, which the caller may write to.
    limit_bytes
        The longest to be read.
    needed_bytes
        What the request needs, for the words of the refusal.

    Raises
    ------
    PayloadTooLargeError
        It is longer.
    UploadNotFoundError
        The upload that the query names is not the caller's for this channel, or is no more.
    InvalidArgumentError
        The request has an upload and a body.
    """
    upload_id = context.request.args.get("upload")
    length = context.request.content_length
    upload = None
    if upload_id is not None:
        if length:
            raise InvalidArgumentError("An upload takes the place of the body; send no body.")
        owner_id = context.runtime.access.owner_id_of(context.principal)
        upload = context.runtime.uploads.find(upload_id, owner_id, channel)
        length = upload.size_bytes
    if length is not None and length > limit_bytes:
        most = "" if needed_bytes is None else f" what the path names needs {needed_bytes};"
        raise PayloadTooLargeError(
            f"The body has {length} bytes;{most} at most {limit_bytes} are read here.",
            limit=limit_bytes,
        )
    unknown = min(limit_bytes, context.runtime.settings.max_request_bytes)
    return RequestBody(
        context,
        upload,
        unknown if length is None else length,
        context.request.mimetype if upload is None else upload.media_type,
    )


def open_voxels(context: Context, channel: Channel, voxel_bytes: int) -> RequestBody:
    """Return the body of a request whose path promises this many bytes of voxels.

    No format needs twice the voxels and a few megabytes; what declares more is not what the path
    says. Raises as ``open_intake``.
    """
    return open_intake(context, channel, _FACTOR * voxel_bytes + _SLACK_BYTES, voxel_bytes)


def _read_stream(request: Request, length: int) -> memoryview:
    """Read a body of known length into memory that is taken once."""
    whole = np.empty(length, np.uint8).data
    filled = 0
    while filled < length:
        piece = request.stream.read(min(_WINDOW_BYTES, length - filled))
        if not piece:
            raise MalformedBodyError(f"The body ended after {filled} of {length} bytes.")
        whole[filled : filled + len(piece)] = piece
        filled += len(piece)
    return whole.toreadonly()


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
