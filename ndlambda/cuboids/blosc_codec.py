"""Cuboids as plain blosc (version 1) chunks, decoded by the blocks that a part needs.

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

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import blosc
import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.blosc_header import read_blosc_header
from ndlambda.cuboids.frame_codec import damaged_frame
from ndlambda.cuboids.layout import CuboidLayout
from ndlambda.cuboids.libblosc2 import Decoder, thread_decoder
from ndlambda.model.catalog import CodecSpec
from ndlambda.space.box import XYZ, Box, SlicesZYX

BLOCK_BYTES = 65536
COMPRESSORS: Final = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
_BLOSC1_FORMAT = 2
_SHUFFLES = ("noshuffle", "shuffle", "bitshuffle")

# Each calling thread handles one cuboid and releases the GIL meanwhile (which also makes
# python-blosc use its calls without global state).
blosc.set_nthreads(1)
blosc.set_releasegil(True)
blosc.set_blocksize(BLOCK_BYTES)


class BloscCodec:
    """The codec of all of blosc's compressors."""

    def compress(self, voxels: NDArray[np.generic], codec: CodecSpec) -> bytes:
        """Return a blosc 1 chunk; see ``FrameCodec``."""
        chunk: bytes = blosc.compress_ptr(
            _address(voxels),
            voxels.size,
            typesize=voxels.itemsize,
            clevel=codec.clevel,
            shuffle=codec.shuffle,
            cname=codec.cname,
        )
        return chunk

    def decompress(
        self,
        chunk: NDArray[np.uint8],
        layout: CuboidLayout,
        out: NDArray[np.generic],
        part: Box | None,
    ) -> None:
        """Decode the blocks of a chunk that hold a part; see ``FrameCodec``."""
        selection = _select(layout.cuboid_xyz, part)
        block_bytes = _checked_block_bytes(chunk, layout)
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

    def zarr_codec(self, layout: CuboidLayout) -> dict[str, Any]:
        """Return Zarr's ``blosc`` codec; see ``FrameCodec``."""
        return {
            "name": "blosc",
            "configuration": {
                "cname": layout.codec.cname,
                "clevel": layout.codec.clevel,
                "shuffle": _SHUFFLES[layout.codec.shuffle],
                "typesize": layout.dtype.itemsize,
                "blocksize": BLOCK_BYTES,
            },
        }


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
            raise damaged_frame("libblosc2 could not decode it", code=code)

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
            raise damaged_frame("libblosc2 could not decode a part of it", code=code)


def _checked_block_bytes(chunk: NDArray[np.uint8], layout: CuboidLayout) -> int:
    header = read_blosc_header(chunk.data)
    nbytes, block_bytes, cbytes = header.nbytes, header.block_bytes, header.frame_bytes
    itemsize = header.itemsize
    # libblosc2's own format has features (values never stored, lazy blocks, user codecs) that
    # stored frames must not use.
    if header.version != _BLOSC1_FORMAT or header.is_blosc_2:
        raise damaged_frame("it is not a blosc 1 chunk", version=header.version, flags=header.flags)
    if cbytes != chunk.size or nbytes != layout.cuboid_bytes:
        raise damaged_frame(
            "it has another length than its header says", nbytes=nbytes, cbytes=cbytes
        )
    if itemsize != layout.dtype.itemsize or not 0 < block_bytes <= nbytes:
        raise damaged_frame(
            "its items do not fit", typesize=header.itemsize, block_bytes=block_bytes
        )
    return block_bytes


def _address(array: NDArray[np.generic]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
