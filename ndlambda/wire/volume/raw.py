"""``raw``: only the C-ordered little-endian elements (KNOSSOS' format)."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ndlambda.wire.volume.block import VolumeBlock, promised_single, single, stack
from ndlambda.wire.volume.contract import Body, ChannelData, Expected, VolumeFormat


def _join(block: VolumeBlock) -> Body:
    return block.pieces[0] if len(block.pieces) == 1 else b"".join(block.pieces)


def _encode_stack(channels: Sequence[ChannelData]) -> Body:
    return _join(stack(channels))


def _encode_single(channels: Sequence[ChannelData]) -> Body:
    return _join(single(channels))


def _decode_single(body: bytes | memoryview, expected: Expected) -> list[NDArray[Any]]:
    promise = promised_single(expected)
    return [promise.adopt(body, promise.dtype)]


FORMATS = (
    VolumeFormat("raw", "ndstore", ("product/raw",), "raw", _encode_stack, None),
    VolumeFormat("raw", "v1", ("application/octet-stream",), None, _encode_single, _decode_single),
)
