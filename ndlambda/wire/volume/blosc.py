"""``blosc``: for ndstore a pickled array in a blosc frame, for v1 the plain elements.

ndstore's clients call ``blosc.unpack_array``, so the pickle stays; the server never unpickles it
(:mod:`ndlambda.wire.codecs.safe_pickle`). It is compressed with lz4, which every blosc supports. A
v1 frame uses zstd level 1 without shuffle: lz4 saves 1 % of electron microscopy and zstd 12 %, and
lz4 leaves 5.5 % of labels and zstd 2.1 %; transfer costs more than the slower codec's time.
"""

from collections.abc import Sequence
from typing import Any, Final

from numpy.typing import NDArray

from ndlambda.errors import MalformedBodyError
from ndlambda.wire.codecs.blosc_frame import compress, decompress, read_size
from ndlambda.wire.codecs.safe_pickle import SLACK, read_array, wrap_array
from ndlambda.wire.volume.block import promised_single, promised_stack, single, stack
from ndlambda.wire.volume.contract import Body, ChannelData, Expected, VolumeFormat


def _encode_pickle(channels: Sequence[ChannelData]) -> Body:
    block = stack(channels)
    before, after = wrap_array(block.dtype, block.shape, block.nbytes)
    pickled = b"".join((before, *block.pieces, after))
    return compress(pickled, block.dtype.itemsize, "lz4", level=5)


def _decode_pickle(body: bytes | memoryview, expected: Expected) -> list[NDArray[Any]]:
    promise = promised_stack(expected)
    size = read_size(body)
    # Twice, because a protocol 2 pickle of Python 3 stores bytes over 127 as two bytes of UTF-8.
    if size > 2 * promise.nbytes + SLACK:
        message = f"The blosc frame holds {size} bytes, the request names {promise.nbytes}."
        raise MalformedBodyError(message, found=size, expected=promise.nbytes)
    pickled = read_array(decompress(body, size).data)
    promise.check(pickled.dtype, pickled.shape)
    return list(promise.adopt(pickled.data, pickled.dtype, fortran=pickled.fortran))


def _encode_plain(channels: Sequence[ChannelData]) -> Body:
    block = single(channels)
    return compress(block.pieces[0], block.dtype.itemsize, "zstd", level=1)


def _decode_plain(body: bytes | memoryview, expected: Expected) -> list[NDArray[Any]]:
    promise = promised_single(expected)
    size = read_size(body)
    if size != promise.nbytes:
        message = f"The blosc frame holds {size} bytes, the request names {promise.nbytes}."
        raise MalformedBodyError(message, found=size, expected=promise.nbytes)
    return [promise.adopt(decompress(body, size).data, promise.dtype)]


_PICKLE_COPIES: Final = 3  # twice the voxels as UTF-8, and the voxels; or an aligned copy

FORMATS = (
    VolumeFormat(
        "blosc",
        "ndstore",
        ("product/blosc",),
        "blosc",
        _encode_pickle,
        _decode_pickle,
        voxel_copies=_PICKLE_COPIES,
    ),
    VolumeFormat("blosc", "v1", ("application/x-blosc",), "blosc", _encode_plain, _decode_plain),
)
