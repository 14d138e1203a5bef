"""Reads the parts of a chunk from the drop store as checked voxels."""

import io
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.decoder import decode, open_image
from ingest_queue.images.fitting import fitted, may_fit
from ingest_queue.jobs.chunk_state import Part
from ingest_queue.jobs.grid import Chunk
from ndlambda.errors import (
    ConflictError,
    DataTypeMismatchError,
    NotFoundError,
    PayloadTooLargeError,
    ShapeMismatchError,
    UnknownNameError,
)
from ndlambda.model.catalog import Channel
from ndlambda.stores.ports import ObjectStore, Range
from ndlambda.voxels.grey import is_plainly_grey, middle
from ndlambda.wire.volume import Expected, get_format

_FACTOR = 2
_SLACK_BYTES = 4 << 20
_BOX_FORMATS = {".npy": "npy", ".blosc": "blosc"}


class PartGoneError(NotFoundError):
    """The object of a received part does not exist any more."""


class PartReplacedError(ConflictError):
    """The object of a received part has other content now.

    Attributes
    ----------
    part
        The current object.
    """

    def __init__(self, part: Part) -> None:
        super().__init__(f"{part.key} was replaced.", key=part.key)
        self.part = part


def max_file_bytes(voxel_bytes: int) -> int:
    """Return the bound on a file with so many bytes of voxels: twice that, plus a constant."""
    return _FACTOR * voxel_bytes + _SLACK_BYTES


@dataclass(frozen=True, slots=True)
class PartReader:
    """Reads the parts of one chunk.

    Attributes
    ----------
    channel
        Its dtype is required; only labels are converted to it, if they fit.
    chunk
        Its shape is required.
    labels
        Whether slices for an annotation channel may look like an image.
    """

    drop: ObjectStore
    channel: Channel
    chunk: Chunk
    labels: bool = False

    def plane(self, part: Part) -> NDArray[Any]:
        """Return a slice (y, x) in the channel's dtype.

        Raises
        ------
        PartGoneError, PartReplacedError
            The object is gone, or is not the recorded one.
        UnknownNameError, InvalidArgumentError, PayloadTooLargeError
            It is not a readable image, or has another size or dtype, which is checked before it is
            decoded, or a label that the dtype cannot hold; or it looks like an image, and the
            channel holds labels.
        """
        _, height, width = self.chunk.box.shape_zyx
        file, name = io.BytesIO(self._body(part, height * width)), PurePosixPath(part.key).name
        image = open_image(file, name)
        if self.channel.is_annotation and image.lossy:
            raise DataTypeMismatchError(
                f"{name} is of a lossy format or has fewer than 8 bits a sample, which changes "
                "labels."
            )
        found_height, found_width = image.header.shape_yx
        if (found_height, found_width) != (height, width):
            raise ShapeMismatchError(
                f"{name} is {found_width}x{found_height}, not {width}x{height} (width x height)."
            )
        self._check_dtype(image.header.dtype, name)
        plane = decode(image, name)
        if self.channel.is_annotation and not self.labels:
            self._check_labels(plane, name)
        return fitted(plane, self.channel.dtype, name)

    def box(self, part: Part) -> NDArray[Any]:
        """Return a box of voxels (z, y, x) in the channel's dtype; raises as ``plane``."""
        suffix = PurePosixPath(part.key).suffix
        if suffix not in _BOX_FORMATS:
            raise UnknownNameError("format", suffix, tuple(_BOX_FORMATS))
        read = get_format("v1", _BOX_FORMATS[suffix]).decode
        assert read is not None, "npy and blosc can be read"
        expected = Expected((self.channel.name,), (self.channel.dtype,), self.chunk.box.shape_zyx)
        (array,) = read(self._body(part, self.chunk.box.voxels), expected)
        return array

    def _body(self, part: Part, voxels: int) -> memoryview:
        """Read an object with a bound: a presigned upload is not bounded elsewhere."""
        limit = max_file_bytes(voxels * self.channel.dtype.itemsize)
        stored = self.drop.get(part.key, Range(0, limit))
        if stored is None:
            raise PartGoneError(f"{part.key} does not exist any more.", key=part.key)
        if stored.etag != part.etag:
            raise PartReplacedError(replace(part, etag=stored.etag))
        if stored.size > limit:
            raise PayloadTooLargeError(
                f"{PurePosixPath(part.key).name} has {stored.size} bytes, more than any file of "
                "this size in voxels.",
                limit=limit,
            )
        return stored.data

    def _check_labels(self, plane: NDArray[Any], name: str) -> None:
        if plane.dtype.kind in "ui" and is_plainly_grey(middle(plane)[None]):
            raise DataTypeMismatchError(
                f"{name} looks like an image, and the channel holds labels. Put it into an image "
                'channel, or say "labels": true in the manifest (or the job\'s configuration) if '
                "these are labels."
            )

    def _check_dtype(self, found: np.dtype, name: str) -> None:
        wanted = self.channel.dtype
        if not may_fit(found, wanted, labels=self.channel.is_annotation):
            raise DataTypeMismatchError(f"{name} is {found}, the channel {wanted}.")
