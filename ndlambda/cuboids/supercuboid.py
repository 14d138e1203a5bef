"""Reads boxes from a stored object, and encodes the object with some cuboids replaced.

An object is 1, 8 or 64 cuboids in one Zarr v3 shard (``shard.py`` defines the bytes). An all-zero
cuboid is not stored and reads as zeros; -0.0 counts as zero, NaN does not. An object without
cuboids is valid: erasing the last voxel leaves one.

Damage is an error, never wrong voxels: the header, every frame and the index have a crc32c, which
is checked on reading. A checksum covers a frame but not its place or age, so all ranges of an
object must come from one version of it: read them under the ETag of the index.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.codec import decode_frame, encode_frame, is_zero
from ndlambda.cuboids.layout import CuboidLayout, SlotPart, cuboid_box, needed_slots
from ndlambda.cuboids.shard import (
    FrameSpan,
    ShardIndex,
    extras,
    is_empty,
    pack_header,
    pack_index,
    read_index,
    write_id,
)
from ndlambda.errors import (
    CuboidDecodeError,
    DataTypeMismatchError,
    OutOfBoundsError,
    ShapeMismatchError,
)
from ndlambda.space.box import Box

__all__ = [
    "FrameSpan",
    "RangePlan",
    "ShardIndex",
    "decode_box",
    "decode_part",
    "extras",
    "fetch_frames",
    "is_empty",
    "needed_slots",
    "plan_ranges",
    "present_cuboids",
    "read_index",
    "splice",
    "write_id",
]

MAX_GAP_BYTES = 256 << 10
"""A gap between needed frames up to this length is fetched with them.

A GET over loopback costs client and server about 0.8 ms of CPU besides the bytes; reading 256 KiB
more costs about a third of that, and over a network the latency favours it even more.
"""


@dataclass(frozen=True, slots=True)
class RangePlan:
    """A byte range of an object to fetch, and the parts to decode from it, in Morton order."""

    span: FrameSpan
    parts: tuple[SlotPart, ...]


def decode_box(data: memoryview, layout: CuboidLayout, part: Box, out: NDArray[np.generic]) -> None:
    """Read a box of a supercuboid from its whole object.

    Parameters
    ----------
    data
        All bytes of the object.
    layout
        The object's layout.
    part
        In voxels from the supercuboid's corner.
    out
        The target: (z, y, x), the part's shape, the layout's dtype, any strides. It is written
        completely; after an error its contents are undefined.

    Raises
    ------
    CuboidDecodeError
        The index, or a needed frame, is damaged.
    OutOfBoundsError
        The part exceeds the supercuboid.
    ShapeMismatchError, DataTypeMismatchError
        ``out`` does not match.
    """
    _check_target(out, part, layout)
    parts = needed_slots(layout, part)
    spans = read_index(data[-layout.index_bytes :], layout, len(data)).spans
    for piece in parts:
        span = spans[piece.slot]
        frame = None if span is None else data[span.start : span.stop]
        decode_part(frame, layout, piece, out)


def decode_part(
    frame: memoryview | None, layout: CuboidLayout, piece: SlotPart, out: NDArray[np.generic]
) -> None:
    """Decode the part of a box that one cuboid holds.

    Parameters
    ----------
    frame
        The cuboid's frame with its checksum; None if it is not stored, which reads as zeros.
    layout
        The object's layout.
    piece
        As ``needed_slots`` returns it for the box.
    out
        The target of the whole box; only the piece's place in it is written.

    Raises
    ------
    CuboidDecodeError
        The frame is damaged.
    ShapeMismatchError, DataTypeMismatchError
        ``out`` does not match.
    """
    if frame is None:
        out[piece.where] = 0
    else:
        decode_frame(frame, layout, out[piece.where], piece.box)


def present_cuboids(
    data: memoryview, layout: CuboidLayout
) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """Iterate over the stored cuboids of an object in Morton order; all others are zero.

    Parameters
    ----------
    data
        All bytes of the object.
    layout
        The object's layout.

    Returns
    -------
    cuboids
        Slot and voxels (z, y, x), a new array each, decoded when it is reached.

    Raises
    ------
    CuboidDecodeError
        The index or a frame is damaged.
    """
    for slot, span in enumerate(read_index(data[-layout.index_bytes :], layout, len(data)).spans):
        if span is not None:
            cuboid = np.empty(layout.cuboid_shape_zyx, layout.dtype)
            decode_frame(data[span.start : span.stop], layout, cuboid, cuboid_box(layout, 0))
            yield slot, cuboid


def plan_ranges(index: ShardIndex, parts: Sequence[SlotPart]) -> tuple[RangePlan, ...]:
    """Return the fewest ranges that cover the needed frames without large gaps.

    Parameters
    ----------
    index
        The object's index.
    parts
        As ``needed_slots`` returns them.
    """
    plans: list[RangePlan] = []
    for piece in parts:
        if not index.present(piece.slot):
            continue
        start, stop = index.span(piece.slot)
        last = plans[-1] if plans else None
        if last is not None and 0 <= start - last.span.stop <= MAX_GAP_BYTES:
            plans[-1] = RangePlan(FrameSpan(last.span.start, stop), (*last.parts, piece))
        else:
            plans.append(RangePlan(FrameSpan(start, stop), (piece,)))
    return tuple(plans)


def fetch_frames(
    index: ShardIndex, plans: Sequence[RangePlan], fetch: Callable[[int, int], memoryview]
) -> dict[int, memoryview]:
    """Fetch planned ranges and return the stored frames in them by slot.

    Parameters
    ----------
    index
        The object's index.
    plans
        As ``plan_ranges`` returns them.
    fetch
        Returns the bytes ``start <= i < stop`` of the same version of the object as the index.

    Raises
    ------
    CuboidDecodeError
        ``fetch`` returned another number of bytes.
    """
    frames = {}
    for plan in plans:
        start, stop = plan.span
        data = fetch(start, stop)
        if len(data) != stop - start:
            raise CuboidDecodeError(
                f"A range of {stop - start} bytes of a supercuboid came with {len(data)}.",
                start=start,
                stop=stop,
            )
        for piece in plan.parts:
            first, last = index.span(piece.slot)
            frames[piece.slot] = data[first - start : last - start]
    return frames


def splice(
    existing: memoryview | None,
    layout: CuboidLayout,
    replaced: Mapping[int, NDArray[np.generic] | None],
    write_id: bytes,
    extras: bytes | None = None,
) -> bytes:
    """Encode an object again with some of its cuboids replaced.

    Frames of other cuboids are copied with their checksums, undecoded: a damaged cuboid neither
    gets a fresh checksum nor blocks its neighbours, and replacing it repairs the object. The header
    and index of ``existing`` are checked.

    Parameters
    ----------
    existing
        All bytes of the current object, or None if it does not exist.
    layout
        The object's layout.
    replaced
        Slot to whole cuboid (z, y, x), or to None for zeros. An all-zero cuboid is not stored.
    write_id
        16 bytes unique to this write.
    extras
        The new extras section; None keeps the existing one.

    Returns
    -------
    data
        The object; an empty shard if no cuboid is left.

    Raises
    ------
    CuboidDecodeError
        The header or the index of ``existing`` is damaged.
    OutOfBoundsError
        A slot is not one of the supercuboid's.
    ShapeMismatchError, DataTypeMismatchError
        A cuboid has another shape or dtype than the layout.
    InvalidArgumentError, PayloadTooLargeError
        The write-id does not have 16 bytes, or the extras are too long.
    """
    for slot, cuboid in replaced.items():
        _check_cuboid(slot, cuboid, layout)
    kept_extras = _kept_extras(existing)
    header = pack_header(write_id, kept_extras if extras is None else extras)
    pieces: list[bytes | memoryview] = [header]
    spans: list[FrameSpan | None] = []
    position = len(header)
    for frame in _frames(existing, layout, replaced):
        if frame is None:
            spans.append(None)
            continue
        spans.append(FrameSpan(position, position + len(frame)))
        pieces.append(frame)
        position += len(frame)
    pieces.append(pack_index(spans, layout))
    return b"".join(pieces)


def _kept_extras(existing: memoryview | None) -> bytes | memoryview:
    return b"" if existing is None else extras(existing)


def _frames(
    existing: memoryview | None,
    layout: CuboidLayout,
    replaced: Mapping[int, NDArray[np.generic] | None],
) -> Iterator[bytes | memoryview | None]:
    kept: tuple[FrameSpan | None, ...] = (None,) * layout.slots
    if existing is not None:
        kept = read_index(existing[-layout.index_bytes :], layout, len(existing)).spans
    for slot, span in enumerate(kept):
        if slot in replaced:
            cuboid = replaced[slot]
            if cuboid is None or is_zero(cuboid):
                yield None
            else:
                yield encode_frame(cuboid, layout.codec)
        elif existing is not None and span is not None:
            yield existing[span.start : span.stop]
        else:
            yield None


def _check_cuboid(slot: int, cuboid: NDArray[np.generic] | None, layout: CuboidLayout) -> None:
    if not 0 <= slot < layout.slots:
        raise OutOfBoundsError(f"Slot {slot} is not one of {layout.slots}.", slot=slot)
    if cuboid is None:
        return
    if cuboid.shape != layout.cuboid_shape_zyx:
        raise ShapeMismatchError(
            f"A cuboid of shape {cuboid.shape} was given; {layout.cuboid_shape_zyx} is needed."
        )
    if cuboid.dtype != layout.dtype:
        raise DataTypeMismatchError(
            f"A cuboid of {cuboid.dtype} was given; {layout.dtype} is needed."
        )


def _check_target(out: NDArray[np.generic], part: Box, layout: CuboidLayout) -> None:
    if out.shape != part.shape_zyx:
        raise ShapeMismatchError(f"The target is {out.shape}, the part {part.shape_zyx}.")
    if out.dtype != layout.dtype:
        raise DataTypeMismatchError(f"The target is {out.dtype}, the cuboids {layout.dtype}.")
