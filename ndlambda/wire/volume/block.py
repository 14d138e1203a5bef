"""Stacks channels into one block of bytes, and says which block an upload must hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import DataTypeMismatchError, ShapeMismatchError
from ndlambda.wire.codecs.promise import Promise
from ndlambda.wire.volume.contract import ChannelData, Expected


def little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array C-contiguous and little-endian; the array itself if it already is."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def view_bytes(array: NDArray[Any]) -> memoryview:
    """Return the bytes of a C-contiguous array without copying."""
    return array.reshape(-1).view(np.uint8).data


@dataclass(frozen=True, slots=True)
class VolumeBlock:
    """Channels of one dtype and shape, ready to be written in sequence.

    Parameters
    ----------
    dtype
        Little-endian.
    shape
        Of the whole block, with or without a channel axis.
    pieces
        Bytes of each channel in C order; views of the arrays if possible.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    pieces: tuple[memoryview, ...]

    @property
    def nbytes(self) -> int:
        """Total bytes of the pieces."""
        return sum(len(piece) for piece in self.pieces)


def stack(channels: Sequence[ChannelData]) -> VolumeBlock:
    """Return channels as a block (channel, [time,] z, y, x); contiguous ones are not copied.

    Raises
    ------
    DataTypeMismatchError
        They do not share one dtype.
    ShapeMismatchError
        They do not share one shape, or there are none.
    """
    arrays = [little_endian(channel.array) for channel in channels]
    kinds = sorted({str(array.dtype) for array in arrays})
    if len(kinds) > 1:
        message = f"The channels have several data types ({', '.join(kinds)}); ask for them apart."
        raise DataTypeMismatchError(message, dtypes=kinds)
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1:
        message = "A body needs one or more channels, all of one shape."
        raise ShapeMismatchError(message, shapes=sorted(map(list, shapes)))
    return VolumeBlock(
        arrays[0].dtype,
        (len(arrays), *arrays[0].shape),
        tuple(view_bytes(array) for array in arrays),
    )


def single(channels: Sequence[ChannelData]) -> VolumeBlock:
    """Return a single channel as a block ([time,] z, y, x).

    Raises
    ------
    ShapeMismatchError
        There is not exactly one channel.
    """
    if len(channels) != 1:
        message = f"This format holds one channel, not {len(channels)}."
        raise ShapeMismatchError(message, channels=len(channels))
    block = stack(channels)
    return VolumeBlock(block.dtype, block.shape[1:], block.pieces)


def promised_stack(expected: Expected) -> Promise:
    """Return the promise of a body with a channel axis.

    Raises
    ------
    DataTypeMismatchError
        The channels have different dtypes, so that no such body can be valid.
    """
    dtypes = {dtype.newbyteorder("<") for dtype in expected.dtypes}
    if len(dtypes) > 1:
        kinds = sorted(dtype.name for dtype in dtypes)
        message = f"The channels have several data types ({', '.join(kinds)}); send them apart."
        raise DataTypeMismatchError(message, dtypes=kinds)
    return Promise(dtypes.pop(), (len(expected.names), *expected.shape))


def promised_single(expected: Expected) -> Promise:
    """Return the promise of a body without a channel axis.

    Raises
    ------
    ShapeMismatchError
        The request names several channels.
    """
    if len(expected.names) != 1:
        message = f"This format holds one channel, the request names {len(expected.names)}."
        raise ShapeMismatchError(message, channels=len(expected.names))
    return Promise(expected.dtypes[0].newbyteorder("<"), expected.shape)
