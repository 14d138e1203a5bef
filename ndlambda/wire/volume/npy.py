"""``npy``: one channel as an ``.npy`` file."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ndlambda.wire.codecs.npy_array import CONTENT_TYPE, decode_npy
from ndlambda.wire.codecs.npy_header import write_header
from ndlambda.wire.volume.block import promised_single, single
from ndlambda.wire.volume.contract import Body, ChannelData, Expected, VolumeFormat


def _encode(channels: Sequence[ChannelData]) -> Body:
    block = single(channels)
    return b"".join((write_header(block.dtype, block.shape), *block.pieces))


def _decode(body: bytes | memoryview, expected: Expected) -> list[NDArray[Any]]:
    return [decode_npy(body, promised_single(expected).check)]


FORMATS = (VolumeFormat("npy", "v1", (CONTENT_TYPE,), "npy", _encode, _decode),)
