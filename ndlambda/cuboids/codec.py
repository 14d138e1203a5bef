"""One cuboid as a frame: its voxels, compressed by the channel's codec, and a checksum.

A stored frame is what the codec makes of the C-ordered (z, y, x) little-endian voxels, opaque bytes
to everything else, followed by their crc32c. To Zarr this is the codec chain ``bytes``, the codec,
``crc32c``. Blosc, for one, has no checksum of its own: of 5000 single-bit flips in a frame of
FIB-25 microscopy, 4994 decoded to wrong voxels without a complaint
(``docs/adr/0003-crc32c-on-every-frame.md``).
"""

import struct
from collections.abc import Mapping
from typing import Final

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.blosc_codec import COMPRESSORS, BloscCodec
from ndlambda.cuboids.blosc_header import HEADER_BYTES
from ndlambda.cuboids.frame_codec import FrameCodec, damaged_frame
from ndlambda.cuboids.layout import CHECKSUM_BYTES, CuboidLayout
from ndlambda.errors import DataTypeMismatchError, ShapeMismatchError, UnknownNameError
from ndlambda.model.catalog import CodecSpec
from ndlambda.space.box import Box

FRAME_CODECS: Final[Mapping[str, FrameCodec]] = dict.fromkeys(COMPRESSORS, BloscCodec())
"""By ``CodecSpec.cname``, which the channel's record holds. A new codec is one more entry."""

_CHECKSUM = struct.Struct("<I")


def checksum(data: memoryview) -> bytes:
    """Return the crc32c of bytes, 4 bytes little endian."""
    # The extension accepts arrays without a copy, but no memoryview.
    return _CHECKSUM.pack(google_crc32c.value(np.frombuffer(data, np.uint8)))


def is_zero(array: NDArray[np.generic]) -> bool:
    """Return whether all voxels are zero; -0.0 is zero, NaN is not."""
    # numpy warns about a signalling NaN, which damaged or unusual data may contain.
    with np.errstate(invalid="ignore"):
        # Non-zero data mostly shows in the first plane; numpy would scan the whole array.
        return not (array[:1].any() or array.any())


def encode_frame(array: NDArray[np.generic], codec: CodecSpec) -> bytes:
    """Return a cuboid as a stored frame: a chunk of its codec and the chunk's crc32c.

    Parameters
    ----------
    array
        Voxels (z, y, x); copied first unless they are C-ordered and little-endian.
    codec
        Compressor, level and shuffle.
    """
    voxels = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    chunk = frame_codec(codec).compress(voxels, codec)
    return chunk + checksum(memoryview(chunk))


def decode_frame(
    frame: memoryview, layout: CuboidLayout, out: NDArray[np.generic], part: Box | None = None
) -> None:
    """Decode a stored frame, or only what a part of it needs, into an array.

    Parameters
    ----------
    frame
        A chunk and its crc32c, as ``encode_frame`` returned them.
    layout
        The expected dtype and cuboid shape, checked before decoding.
    out
        The target: (z, y, x), the part's shape, the layout's dtype, any strides. After an error its
        contents are undefined.
    part
        A box inside the cuboid, in voxels from its corner; None for all of it.

    Raises
    ------
    CuboidDecodeError
        The frame is damaged, or does not have this layout.
    ShapeMismatchError, DataTypeMismatchError
        ``out`` does not match the part.
    """
    _check_target(out, part, layout)
    chunk = _checked_chunk(frame)
    frame_codec(layout.codec).decompress(chunk, layout, out, part)


def frame_codec(codec: CodecSpec) -> FrameCodec:
    """Return the codec that a channel's record names.

    Raises
    ------
    UnknownNameError
        There is no such codec.
    """
    try:
        return FRAME_CODECS[codec.cname]
    except KeyError:
        raise UnknownNameError("codec", codec.cname, sorted(FRAME_CODECS)) from None


def _check_target(out: NDArray[np.generic], part: Box | None, layout: CuboidLayout) -> None:
    # Decoding writes through a pointer: a target that does not match would corrupt memory.
    cuboid = Box((0, 0, 0), layout.cuboid_xyz)
    box = part or cuboid
    if not box.within(cuboid):
        raise ShapeMismatchError(
            f"{box} leaves its cuboid of {layout.cuboid_xyz} voxels (x, y, z)."
        )
    if out.shape != box.shape_zyx:
        raise ShapeMismatchError(f"The target is {out.shape}, the part {box.shape_zyx}.")
    if out.dtype != layout.dtype:
        raise DataTypeMismatchError(f"The target is {out.dtype}, the cuboid {layout.dtype}.")
    if not out.flags.writeable:
        raise ShapeMismatchError("The target cannot be written to.")


def _checked_chunk(frame: memoryview) -> NDArray[np.uint8]:
    size = len(frame) - CHECKSUM_BYTES
    if size < HEADER_BYTES:
        raise damaged_frame("it is too short", size_bytes=len(frame))
    chunk = np.frombuffer(frame, np.uint8, size)
    if google_crc32c.value(chunk) != _CHECKSUM.unpack_from(frame, size)[0]:
        raise damaged_frame("its checksum does not match")
    return chunk
