"""The parts of a chunk as voxels: read from the drop store, decoded, and checked."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest_queue.grid import Chunk
from ingest_queue.images import is_lossy, read_image
from ingest_queue.ledger import Part
from ndlambda.errors import (
    DataTypeMismatchError,
    NotFoundError,
    ShapeMismatchError,
    UnknownNameError,
)
from ndlambda.model.catalog import Channel
from ndlambda.stores.ports import ObjectStore
from ndlambda.wire.volume import Expected, get_format


class PartGoneError(NotFoundError):
    """The object of a part that came is not there any more."""


_BOX_FORMATS = {".npy": "npy", ".blosc": "blosc"}


@dataclass(frozen=True, slots=True)
class PartReader:
    """Reads the parts of one chunk.

    Attributes
    ----------
    drop
        Where the objects are.
    channel
        Says the dtype; labels are widened to it, nothing else is converted.
    chunk
        Says the shape.
    """

    drop: ObjectStore
    channel: Channel
    chunk: Chunk

    def plane(self, part: Part) -> NDArray[Any]:
        """Give a slice (y, x) in the channel's dtype.

        Raises
        ------
        PartGoneError
            The object is gone.
        UnknownNameError, InvalidArgumentError, PayloadTooLargeError
            It is no image that can be read, or one of another size or dtype.
        """
        _, height, width = self.chunk.box.shape_zyx
        limit = height * width * self.channel.dtype.itemsize
        body, name = self._body(part), PurePosixPath(part.key).name
        if self.channel.is_annotation and is_lossy(body, name):
            raise DataTypeMismatchError(f"{name} is of a lossy format, which changes labels.")
        image = read_image(body, name, limit)
        if image.shape != (height, width):
            raise ShapeMismatchError(
                f"The slice is {image.shape[1]}x{image.shape[0]}, not {width}x{height} "
                "(width x height)."
            )
        return self._as_channel(image)

    def box(self, part: Part) -> NDArray[Any]:
        """Give a box of voxels (z, y, x) in the channel's dtype; raises as ``plane``."""
        suffix = PurePosixPath(part.key).suffix
        if suffix not in _BOX_FORMATS:
            raise UnknownNameError("format", suffix, tuple(_BOX_FORMATS))
        decode = get_format("v1", _BOX_FORMATS[suffix]).decode
        assert decode is not None, "npy and blosc can be read"
        expected = Expected((self.channel.name,), (self.channel.dtype,), self.chunk.box.shape_zyx)
        (array,) = decode(self._body(part), expected)
        return array

    def _body(self, part: Part) -> memoryview:
        stored = self.drop.get(part.key)
        if stored is None:
            raise PartGoneError(f"{part.key} is not there any more.", key=part.key)
        return stored.data

    def _as_channel(self, image: NDArray[Any]) -> NDArray[Any]:
        wanted = self.channel.dtype
        if image.dtype == wanted:
            return image
        if self.channel.is_annotation and np.can_cast(image.dtype, wanted, "safe"):
            return image.astype(wanted)
        raise DataTypeMismatchError(f"The slice is {image.dtype}, the channel {wanted}.")
