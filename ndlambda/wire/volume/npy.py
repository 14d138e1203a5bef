"""``npy``: an ``.npy`` file of one channel."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ndlambda.errors import MalformedBodyError
from ndlambda.wire.npy_header import read_header, write_header
from ndlambda.wire.volume.block import promised_single, single
from ndlambda.wire.volume.contract import Body, ChannelData, Expected, VolumeFormat


def _encode(channels: Sequence[ChannelData]) -> Body:
    block = single(channels)
    return b"".join((write_header(block.dtype, block.shape), *block.pieces))


def _decode(body: bytes | memoryview, expected: Expected) -> list[NDArray[Any]]:
    promise = promised_single(expected)
    view = memoryview(body)
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        piece = bytes(view[position : position + size])
        if len(piece) < size:
            message = "The .npy file is truncated."
            raise MalformedBodyError(message)
        position += size
        return piece

    header = read_header(read)
    promise.check(header.dtype, header.shape)
    return [promise.adopt(view[position:], header.dtype, fortran=header.fortran)]


FORMATS = (VolumeFormat("npy", "v1", ("application/x-npy",), "npy", _encode, _decode),)
