"""Encodes a cuboid as a blosc frame with a checksum, and decodes all or part of it.

A stored frame is one plain blosc (version 1) chunk of the C-ordered (z, y, x) little-endian voxels,
followed by the crc32c of the chunk. For Zarr this is the codec chain ``bytes, blosc, crc32c``.
Blosc has no checksum of its own: of 5000 single-bit flips in a frame of FIB-25 microscopy, 4994
decoded to wrong voxels without an error (``docs/adr/0003-crc32c-on-every-frame.md``).

A chunk consists of blocks of 64 KiB that are decoded independently. That is a whole number of
planes for cuboids of up to 4 bytes per voxel, so a thin slab costs only its blocks. On FIB-25
(images zstd 1, labels zstd 5, MB of voxels per CPU second, decoding the whole cuboid):

=======  ====================================  =====================================
block    image 128x128x16 uint8                labels 64x64x64 uint64
=======  ====================================  =====================================
16 KiB   ratio 1.14, encode 408, decode 869    ratio 81.3, encode 116, decode 2739
32 KiB   ratio 1.15, encode 559, decode 949    ratio 92.5, encode 310, decode 3276
64 KiB   ratio 1.15, encode 619, decode 975    ratio 105.3, encode 313, decode 3971
128 KiB  ratio 1.15, encode 681, decode 986    ratio 113.7, encode 341, decode 4635
256 KiB  ratio 1.15, encode 691, decode 995    ratio 115.9, encode 292, decode 4893
=======  ====================================  =====================================

Half the block size would halve the cost of a single image plane and cost labels an eighth of their
ratio; twice the block size the reverse.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import blosc
import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.blosc_header import HEADER_BYTES, read_blosc_header
from ndlambda.cuboids.layout import CHECKSUM_BYTES, CuboidLayout
from ndlambda.cuboids.libblosc2 import Decoder, thread_decoder
from ndlambda.errors import CuboidDecodeError, DataTypeMismatchError, ShapeMismatchError
from ndlambda.model.catalog import CodecSpec
from ndlambda.space.box import XYZ, Box, SlicesZYX

BLOCK_BYTES = 65536
_BLOSC1_FORMAT = 2
_CHECKSUM = struct.Struct("<I")

# Each calling thread handles one cuboid and releases the GIL meanwhile (which also makes
# python-blosc use its calls without global state).
blosc.set_nthreads(1)
blosc.set_releasegil(True)
blosc.set_blocksize(BLOCK_BYTES)


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
    """Encode a cuboid as a stored frame: a blosc chunk and its crc32c.

    Parameters
    ----------
    array
        Voxels (z, y, x); copied first unless they are C-ordered and little-endian.
    codec
        Compressor, level and shuffle.
    """
    voxels = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    chunk: bytes = blosc.compress_ptr(
        _address(voxels),
        voxels.size,
        typesize=voxels.itemsize,
        clevel=codec.clevel,
        shuffle=codec.shuffle,
        cname=codec.cname,
    )
    return chunk + checksum(memoryview(chunk))


def decode_frame(
    frame: memoryview, layout: CuboidLayout, out: NDArray[np.generic], part: Box | None = None
) -> None:
    """Decode a stored frame, or only the blocks that hold a part of it, into an array.

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
    selection = _select(layout.cuboid_xyz, part)
    _check_target(out, selection, layout)
    chunk = _checked_chunk(frame)
    block_bytes = _checked_block_bytes(frame, layout)
    itemsize = layout.dtype.itemsize
    source = _Frame(thread_decoder(), _address(chunk), chunk.size, itemsize, block_bytes)
    if selection.is_run and out.flags.c_contiguous:
        source.read(selection, _address(out))
        return
    planes = selection.planes
    plane_items = selection.plane_items
    scratch = source.decoder.scratch(planes * plane_items * itemsize)
    target = _address(scratch)
    skipped_bytes = (plane_items - selection.plane_run_items) * itemsize
    if skipped_bytes >= block_bytes:
        for plane in range(planes):
            first = selection.first_item + plane * plane_items
            at = target + (plane * plane_items + selection.lead_items) * itemsize
            source.read_items(first, selection.plane_run_items, at)
    else:
        source.read(selection, target + selection.lead_items * itemsize)
    decoded = scratch.view(layout.dtype).reshape(planes, *selection.plane_shape_yx)
    out[...] = decoded[selection.inside]


@dataclass(frozen=True, slots=True)
class _Selection:
    """The voxels of a cuboid that a part needs, in items of its C order.

    ``is_run``: the part is one contiguous run of items. Otherwise whole rows are read, from the
    first needed row to the last one, into planes whose first ``lead_items`` stay unused, and
    ``inside`` selects the part from the planes.
    """

    shape_zyx: tuple[int, int, int]
    first_item: int
    items: int
    is_run: bool
    is_whole: bool
    planes: int
    plane_shape_yx: tuple[int, int]
    plane_items: int
    plane_run_items: int
    lead_items: int
    inside: SlicesZYX


@lru_cache(maxsize=4096)
def _select(cuboid_xyz: XYZ, part: Box | None) -> _Selection:
    cuboid = Box((0, 0, 0), cuboid_xyz)
    box = part or cuboid
    if not box.within(cuboid):
        raise ShapeMismatchError(f"{box} leaves its cuboid of {cuboid_xyz} voxels (x, y, z).")
    (x0, y0, z0), (x1, y1, z1), (width, height, _) = box.start_xyz, box.stop_xyz, cuboid_xyz
    plane_items = width * height
    full_rows = x1 - x0 == width
    full_planes = full_rows and y1 - y0 == height
    one_plane, one_row = z1 - z0 == 1, y1 - y0 == 1
    is_run = full_planes or (one_plane and (full_rows or one_row))
    lead = y0 * width + (x0 if is_run else 0)
    rows_to_end = (z1 - 1 - z0) * plane_items + (y1 - y0) * width
    return _Selection(
        shape_zyx=box.shape_zyx,
        first_item=z0 * plane_items + lead,
        items=box.voxels if is_run else rows_to_end,
        is_run=is_run,
        is_whole=box == cuboid,
        planes=z1 - z0,
        plane_shape_yx=(height, width),
        plane_items=plane_items,
        plane_run_items=box.voxels // (z1 - z0) if is_run else (y1 - y0) * width,
        lead_items=lead,
        inside=(slice(None), slice(y0, y1), slice(x0, x1)),
    )


class _Frame(NamedTuple):
    decoder: Decoder
    address: int
    size_bytes: int
    itemsize: int
    block_bytes: int

    def read(self, selection: _Selection, target: int) -> None:
        if not selection.is_whole:
            self.read_items(selection.first_item, selection.items, target)
            return
        wanted = selection.items * self.itemsize
        decoder = self.decoder
        code = decoder.whole(decoder.context, self.address, self.size_bytes, target, wanted)
        if code != wanted:
            raise _damaged("libblosc2 could not decode it", code=code)

    def read_items(self, first: int, items: int, target: int) -> None:
        wanted = items * self.itemsize
        before_block_end = -first * self.itemsize % self.block_bytes
        if before_block_end and wanted == self.block_bytes:
            # libblosc2 (seen in 3.3.5) treats any run of a block's length as a read of that whole
            # block and returns its voxels, wherever the run starts.
            head = before_block_end // self.itemsize
            self.read_items(first, head, target)
            self.read_items(first + head, items - head, target + before_block_end)
            return
        decoder = self.decoder
        code = decoder.items(
            decoder.context, self.address, self.size_bytes, first, items, target, wanted
        )
        if code != wanted:
            raise _damaged("libblosc2 could not decode a part of it", code=code)


def _check_target(out: NDArray[np.generic], selection: _Selection, layout: CuboidLayout) -> None:
    # Decoding writes through a pointer: a target that does not match would corrupt memory.
    if out.shape != selection.shape_zyx:
        raise ShapeMismatchError(f"The target is {out.shape}, the part {selection.shape_zyx}.")
    if out.dtype != layout.dtype:
        raise DataTypeMismatchError(f"The target is {out.dtype}, the cuboid {layout.dtype}.")
    if not out.flags.writeable:
        raise ShapeMismatchError("The target cannot be written to.")


def _checked_chunk(frame: memoryview) -> NDArray[np.uint8]:
    size = len(frame) - CHECKSUM_BYTES
    if size < HEADER_BYTES:
        raise _damaged("it is too short", size_bytes=len(frame))
    chunk = np.frombuffer(frame, np.uint8, size)
    if google_crc32c.value(chunk) != _CHECKSUM.unpack_from(frame, size)[0]:
        raise _damaged("its checksum does not match")
    return chunk


def _checked_block_bytes(frame: memoryview, layout: CuboidLayout) -> int:
    header = read_blosc_header(frame)
    nbytes, block_bytes, cbytes = header.nbytes, header.block_bytes, header.frame_bytes
    # libblosc2's own format has features (values never stored, lazy blocks, user codecs) that
    # stored frames must not use.
    if header.version != _BLOSC1_FORMAT or header.is_blosc_2:
        raise _damaged("it is not a blosc 1 chunk", version=header.version, flags=header.flags)
    if cbytes != len(frame) - CHECKSUM_BYTES or nbytes != layout.cuboid_bytes:
        raise _damaged("it has another length than its header says", nbytes=nbytes, cbytes=cbytes)
    if header.itemsize != layout.dtype.itemsize or not 0 < block_bytes <= nbytes:
        raise _damaged("its items do not fit", typesize=header.itemsize, block_bytes=block_bytes)
    return block_bytes


def _damaged(reason: str, **details: int) -> CuboidDecodeError:
    return CuboidDecodeError(f"A stored frame is damaged: {reason}.", **details)


def _address(array: NDArray[np.generic]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
