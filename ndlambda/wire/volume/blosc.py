"""``blosc``: in ndstore a pickled array in a blosc frame, in v1 the elements themselves.

ndstore's clients call ``blosc.unpack_array``, so the pickle stays; here it is never unpickled
(:mod:`ndlambda.wire.safe_pickle`). It is written with lz4, which every blosc can read. A v1 frame
has zstd level 1 without shuffle: of electron microscopy lz4 saves 1 % and zstd 12 %, of labels lz4
leaves 5.5 % and zstd 2.1 %, and what is sent costs more than the time of the slower codec.
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
    # Twice: a protocol 2 pickle of Python 3 has bytes over 127 as two bytes of UTF-8.
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


_PICKLE_COPIES: Final = 3  # twice the voxels as UTF-8, and the voxels; or a copy to align them

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
