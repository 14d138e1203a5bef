"""``npz`` in ndstore's sense: the zlib stream of an ``.npy`` file, not a zip archive."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.wire.codecs.inflate import Inflater, deflate
from ndlambda.wire.codecs.npy_header import read_header, write_header
from ndlambda.wire.codecs.promise import Promise
from ndlambda.wire.volume.block import (
    VolumeBlock,
    promised_single,
    promised_stack,
    single,
    stack,
)
from ndlambda.wire.volume.contract import Body, ChannelData, Expected, VolumeFormat


def _write(block: VolumeBlock) -> bytes:
    return deflate(write_header(block.dtype, block.shape), *block.pieces)


def _read(body: bytes | memoryview, promise: Promise) -> NDArray[Any]:
    inflater = Inflater(body)
    header = read_header(inflater.read)
    promise.check(header.dtype, header.shape)
    elements = np.empty(promise.nbytes, np.uint8).data
    inflater.read_into(elements)
    inflater.finish()
    return promise.adopt(elements, header.dtype, fortran=header.fortran)


def _encode_stack(channels: Sequence[ChannelData]) -> Body:
    return _write(stack(channels))


def _encode_single(channels: Sequence[ChannelData]) -> Body:
    return _write(single(channels))


def _decode_stack(body: bytes | memoryview, expected: Expected) -> list[NDArray[Any]]:
    return list(_read(body, promised_stack(expected)))


def _decode_single(body: bytes | memoryview, expected: Expected) -> list[NDArray[Any]]:
    return [_read(body, promised_single(expected))]


FORMATS = (
    VolumeFormat("npz", "ndstore", ("product/npz",), None, _encode_stack, _decode_stack),
    VolumeFormat("npz", "v1", ("application/x-npz-ndstore",), None, _encode_single, _decode_single),
)
