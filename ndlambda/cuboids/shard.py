"""Header, extras and shard index of a stored object.

::

    write-id 16 | extras length u32 | extras | crc32c of all before
    frames of the present cuboids, in Morton order, each with its crc32c
    shard index: offset, length u64 an entry, missing = 2^64-1 | crc32c of the index

Everything is little endian. For Zarr the header is a gap that no index entry refers to.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from ndlambda.cuboids.codec import checksum
from ndlambda.cuboids.layout import (
    CHECKSUM_BYTES,
    CUBOIDS_PER_AXIS,
    HEADER_BYTES,
    INDEX_ENTRY_BYTES,
    MAX_EXTRAS_BYTES,
    CuboidLayout,
    index_entries,
)
from ndlambda.errors import CuboidDecodeError, InvalidArgumentError, PayloadTooLargeError

WRITE_ID_BYTES = 16
_HEADER = struct.Struct(f"<{WRITE_ID_BYTES}sI")
_MISSING = 2**64 - 1
_MISSING_BYTE = b"\xff"


class FrameSpan(NamedTuple):
    """Bytes ``start <= i < stop`` of an object."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The place in an object of every present cuboid's frame.

    Attributes
    ----------
    spans
        By slot; None if the cuboid is all zero and therefore not stored.
    """

    spans: tuple[FrameSpan | None, ...]

    @property
    def is_empty(self) -> bool:
        """Whether no cuboid is present."""
        return not any(self.spans)

    def present(self, slot: int) -> bool:
        """Return whether the cuboid of a slot is stored."""
        return self.spans[slot] is not None

    def span(self, slot: int) -> FrameSpan:
        """Return the bytes of a stored cuboid's frame, including its checksum.

        Raises
        ------
        KeyError
            The cuboid is not stored.
        """
        span = self.spans[slot]
        if span is None:
            raise KeyError(slot)
        return span


@lru_cache(maxsize=len(CUBOIDS_PER_AXIS))
def _entries(slots: int) -> struct.Struct:
    return struct.Struct(f"<{2 * slots}Q")


def read_index(tail: memoryview, layout: CuboidLayout, size: int) -> ShardIndex:
    """Read the shard index from the end of an object.

    Parameters
    ----------
    tail
        The last ``layout.index_bytes`` bytes of the object.
    layout
        The object's layout.
    size
        Length of the whole object in bytes.

    Raises
    ------
    CuboidDecodeError
        The object is too short or too long, the checksum does not match, or an entry points
        outside the frames of this object, is longer than any frame can be, or overlaps another.
    """
    end = size - layout.index_bytes
    if len(tail) != layout.index_bytes or end < HEADER_BYTES + CHECKSUM_BYTES:
        raise _damaged("it is too short", size_bytes=size)
    if size > layout.max_object_bytes:
        raise _damaged("it is too long", size_bytes=size)
    body, stored = tail[:-CHECKSUM_BYTES], tail[-CHECKSUM_BYTES:]
    if checksum(body) != stored:
        raise _damaged("the checksum of its index does not match")
    values = _entries(layout.slots).unpack(body)
    spans = tuple(
        _checked_span(values[2 * entry], values[2 * entry + 1], end, layout.max_frame_bytes)
        for entry in index_entries(layout.cuboids_per_axis)
    )
    for before, after in pairwise(sorted(span for span in spans if span)):
        if after.start < before.stop:
            raise _damaged("two frames overlap", start=after.start, stop=before.stop)
    return ShardIndex(spans)


def _checked_span(offset: int, length: int, end: int, longest: int) -> FrameSpan | None:
    if offset == length == _MISSING:
        return None
    if offset < HEADER_BYTES + CHECKSUM_BYTES or offset + length > end:
        raise _damaged("a frame is outside it", offset=offset, length=length)
    if not 0 < length <= longest:
        raise _damaged("a frame has an impossible length", offset=offset, length=length)
    return FrameSpan(offset, offset + length)


def pack_index(spans: Sequence[FrameSpan | None], layout: CuboidLayout) -> bytes:
    """Return the bytes of a shard index, including its checksum; spans are by slot."""
    values = [_MISSING] * (2 * layout.slots)
    for span, entry in zip(spans, index_entries(layout.cuboids_per_axis), strict=True):
        if span is not None:
            values[2 * entry : 2 * entry + 2] = span.start, span.stop - span.start
    body = _entries(layout.slots).pack(*values)
    return body + checksum(memoryview(body))


def pack_header(write_id: bytes, extras: bytes | memoryview) -> bytes:
    """Return the bytes of an object before its frames.

    Raises
    ------
    InvalidArgumentError
        The write-id does not have 16 bytes.
    PayloadTooLargeError
        The extras are over ``MAX_EXTRAS_BYTES``.
    """
    if len(write_id) != WRITE_ID_BYTES:
        raise InvalidArgumentError(f"A write-id has {WRITE_ID_BYTES} bytes, not {len(write_id)}.")
    if len(extras) > MAX_EXTRAS_BYTES:
        raise PayloadTooLargeError(
            f"The extra labels of one supercuboid would take {len(extras)} bytes; "
            f"{MAX_EXTRAS_BYTES} are allowed.",
            limit=MAX_EXTRAS_BYTES,
        )
    head = _HEADER.pack(write_id, len(extras)) + extras
    return head + checksum(memoryview(head))


def write_id(data: memoryview) -> bytes:
    """Return the 16 bytes by which a writer recognises its own write.

    Raises
    ------
    CuboidDecodeError
        The header is damaged.
    """
    _header_end(data)
    return bytes(data[:WRITE_ID_BYTES])


def extras(data: memoryview) -> memoryview:
    """Return the extras section of an object, as a view.

    Raises
    ------
    CuboidDecodeError
        The header is damaged.
    """
    return data[HEADER_BYTES : _header_end(data) - CHECKSUM_BYTES]


def _header_end(data: memoryview) -> int:
    if len(data) < HEADER_BYTES + CHECKSUM_BYTES:
        raise _damaged("it is too short", size_bytes=len(data))
    end = HEADER_BYTES + int(_HEADER.unpack_from(data)[1])
    stored = data[end : end + CHECKSUM_BYTES]
    if end > HEADER_BYTES + MAX_EXTRAS_BYTES or checksum(data[:end]) != stored:
        raise _damaged("the checksum of its header does not match")
    return end + CHECKSUM_BYTES


def is_empty(shard: memoryview | ShardIndex) -> bool:
    """Return whether an object (or its index) holds no cuboid and so reads as zeros.

    Raises
    ------
    CuboidDecodeError
        The header of the object, or the index of an empty one, is damaged.
    """
    if isinstance(shard, ShardIndex):
        return shard.is_empty
    # No layout is needed: the index directly follows the header only in an empty object, and no
    # frame starts with the byte that fills a missing entry.
    rest = shard[_header_end(shard) :]
    body, stored = rest[:-CHECKSUM_BYTES], rest[-CHECKSUM_BYTES:]
    slots = {n**3 for n in CUBOIDS_PER_AXIS}
    if len(body) not in {count * INDEX_ENTRY_BYTES for count in slots}:
        return False
    if body[:1] != _MISSING_BYTE:
        return False
    if body != _MISSING_BYTE * len(body) or checksum(body) != stored:
        raise _damaged("its empty index is invalid")
    return True


def _damaged(reason: str, **details: int) -> CuboidDecodeError:
    return CuboidDecodeError(f"A stored supercuboid is damaged: {reason}.", **details)
