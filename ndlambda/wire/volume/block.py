"""Channels as one block of bytes, and what such a block must be on the way in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import DataTypeMismatchError, MalformedBodyError, ShapeMismatchError
from ndlambda.wire.volume.contract import ChannelData, Expected


def little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """Give the array C-contiguous and little-endian; itself where it is so already."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def view_bytes(array: NDArray[Any]) -> memoryview:
    """Give the bytes of a C-contiguous array as they lie, sharing its memory."""
    return array.reshape(-1).view(np.uint8).data


@dataclass(frozen=True, slots=True)
class Block:
    """Channels of one dtype and shape, ready to be written one after another.

    Parameters
    ----------
    dtype
        Little-endian.
    shape
        Of the whole block, with or without a channel axis.
    pieces
        Bytes of each channel, C order; views where the arrays allowed it.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    pieces: tuple[memoryview, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all pieces."""
        return sum(len(piece) for piece in self.pieces)


def stack(channels: Sequence[ChannelData]) -> Block:
    """Give channels as a block (channel, [time,] z, y, x); none is copied if contiguous.

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
    return Block(
        arrays[0].dtype,
        (len(arrays), *arrays[0].shape),
        tuple(view_bytes(array) for array in arrays),
    )


def single(channels: Sequence[ChannelData]) -> Block:
    """Give the one channel as a block ([time,] z, y, x).

    Raises
    ------
    ShapeMismatchError
        There is not exactly one channel.
    """
    if len(channels) != 1:
        message = f"This format holds one channel, not {len(channels)}."
        raise ShapeMismatchError(message, channels=len(channels))
    block = stack(channels)
    return Block(block.dtype, block.shape[1:], block.pieces)


@dataclass(frozen=True, slots=True)
class Promise:
    """The block that a body must hold.

    Parameters
    ----------
    dtype
        Little-endian.
    shape
        Of the whole block, with or without a channel axis.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the block."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        """Compare with what a header declares; byte order does not matter, nothing is cast.

        Raises
        ------
        DataTypeMismatchError, ShapeMismatchError
            They differ.
        """
        if dtype.newbyteorder("<") != self.dtype:
            message = f"The array is {dtype.name}, the channel is {self.dtype.name}."
            raise DataTypeMismatchError(message, found=dtype.name, expected=self.dtype.name)
        if shape != self.shape:
            message = f"The array has shape {shape}, the request names {self.shape}."
            raise ShapeMismatchError(message, found=list(shape), expected=list(self.shape))

    def adopt(
        self, buffer: bytes | memoryview, dtype: np.dtype[Any], *, fortran: bool = False
    ) -> NDArray[Any]:
        """Give the block in a buffer; a view of it unless order, alignment or bytes must change.

        Parameters
        ----------
        buffer
            The elements and nothing else.
        dtype
            As the header has it, of either byte order.
        fortran
            The first axis runs fastest.

        Raises
        ------
        MalformedBodyError
            The buffer has another length than the block.
        """
        if len(buffer) != self.nbytes:
            message = f"The array has {len(buffer)} bytes where its shape needs {self.nbytes}."
            raise MalformedBodyError(message, found=len(buffer), expected=self.nbytes)
        array = np.frombuffer(buffer, dtype).reshape(self.shape, order="F" if fortran else "C")
        return np.require(array, self.dtype, ["C", "A"])


def promised_stack(expected: Expected) -> Promise:
    """Give what a body with a channel axis must hold.

    Raises
    ------
    DataTypeMismatchError
        The channels have several dtypes, so that no such body can be right.
    """
    dtypes = {dtype.newbyteorder("<") for dtype in expected.dtypes}
    if len(dtypes) > 1:
        kinds = sorted(dtype.name for dtype in dtypes)
        message = f"The channels have several data types ({', '.join(kinds)}); send them apart."
        raise DataTypeMismatchError(message, dtypes=kinds)
    return Promise(dtypes.pop(), (len(expected.names), *expected.shape))


def promised_single(expected: Expected) -> Promise:
    """Give what a body without a channel axis must hold.

    Raises
    ------
    ShapeMismatchError
        The request names several channels.
    """
    if len(expected.names) != 1:
        message = f"This format holds one channel, the request names {len(expected.names)}."
        raise ShapeMismatchError(message, channels=len(expected.names))
    return Promise(expected.dtypes[0].newbyteorder("<"), expected.shape)
