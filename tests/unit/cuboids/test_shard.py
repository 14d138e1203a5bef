import struct
from collections.abc import Iterator

import numpy as np
import pytest

from ndlambda.cuboids.codec import checksum
from ndlambda.cuboids.layout import MAX_EXTRAS_BYTES, CuboidLayout
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
from ndlambda.errors import CuboidDecodeError, InvalidArgumentError, PayloadTooLargeError
from ndlambda.model.catalog import IMAGE_CODEC
from ndlambda.space import morton

LAYOUT = CuboidLayout(np.dtype("u1"), (8, 8, 8), 2, IMAGE_CODEC)
WIDE = CuboidLayout(np.dtype("u1"), (8, 8, 8), 4, IMAGE_CODEC)
WRITE_ID = bytes(range(16))
SIZE = 4000


def packed(layout: CuboidLayout, spans: dict[int, tuple[int, int]] | None = None) -> bytes:
    by_slot = {slot: FrameSpan(*span) for slot, span in (spans or {}).items()}
    return pack_index(tuple(by_slot.get(slot) for slot in range(layout.slots)), layout)


def read(data: bytes, layout: CuboidLayout = LAYOUT, size: int = SIZE) -> ShardIndex:
    return read_index(memoryview(data), layout, size)


def damaged(data: bytes, step: int = 1) -> Iterator[memoryview]:
    """Return the bytes with each bit flipped, one at a time."""
    for bit in range(0, 8 * len(data), step):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield memoryview(flipped)


@pytest.mark.parametrize("layout", [LAYOUT, WIDE])
def test_an_index_is_read_as_it_was_packed(layout):
    index = read(packed(layout, {1: (24, 100), 6: (100, 300)}), layout)
    assert [slot for slot in range(layout.slots) if index.present(slot)] == [1, 6]
    assert index.span(6) == (100, 300)
    assert not is_empty(index)
    with pytest.raises(KeyError):
        index.span(0)


def test_an_index_entry_stands_where_zarr_looks_for_it():
    index = packed(WIDE, {morton.encode(1, 2, 3): (24, 100)})
    entries = np.frombuffer(index[:-4], "<u8").reshape(4, 4, 4, 2)
    assert entries[3, 2, 1].tolist() == [24, 76]
    assert (np.delete(entries.reshape(64, 2), (3 * 4 + 2) * 4 + 1, axis=0) == 2**64 - 1).all()


@pytest.mark.parametrize("spans", [
    {0: (23, 50)},  # in the header
    {0: (SIZE - LAYOUT.index_bytes - 5, SIZE - LAYOUT.index_bytes + 1)},  # in the index
    {0: (2**63, 2**63 + 8)}, {0: (50, 50)}, {0: (24, 24 + LAYOUT.max_frame_bytes + 1)},
    {0: (2**64 - 1, 2**64)},  # half of what marks a missing cuboid
    {0: (24, 100), 3: (99, 200)}, {0: (24, 100), 3: (24, 100)}, {5: (24, 300), 1: (30, 40)},
])  # fmt: skip
def test_impossible_spans_are_refused(spans):
    with pytest.raises(CuboidDecodeError, match=r"outside|length|overlap"):
        read(packed(LAYOUT, spans))


def test_an_offset_and_length_that_wrap_around_are_refused():
    body = struct.pack("<16Q", 2**64 - 10, 40, *([2**64 - 1] * 14))
    with pytest.raises(CuboidDecodeError, match="outside"):
        read(body + checksum(memoryview(body)))


def test_every_bit_flip_and_every_truncation_of_an_index_is_found():
    index = packed(LAYOUT, {1: (24, 100), 6: (100, 300)})
    for flipped in damaged(index):
        with pytest.raises(CuboidDecodeError, match="checksum"):
            read(flipped)
    for size in range(len(index)):
        with pytest.raises(CuboidDecodeError):
            read(index[:size])


@pytest.mark.parametrize(("size", "beyond", "match"), [
    (24 + LAYOUT.index_bytes, -1, "short"), (LAYOUT.max_object_bytes, 1, "too long"),
])  # fmt: skip
def test_an_object_shorter_or_longer_than_any_can_be_is_refused(size, beyond, match):
    assert is_empty(read(packed(LAYOUT), size=size))
    with pytest.raises(CuboidDecodeError, match=match):
        read(packed(LAYOUT), size=size + beyond)


@pytest.mark.parametrize("section", [b"", b"x", bytes(1000)])
def test_write_id_and_extras_are_read_as_they_were_packed(section):
    data = memoryview(pack_header(WRITE_ID, section) + b"frames and index")
    assert write_id(data) == WRITE_ID
    assert extras(data) == section


def test_every_bit_flip_and_every_truncation_of_a_header_is_found():
    header = pack_header(WRITE_ID, b"some extras")
    for flipped in damaged(header):
        for read_part in (write_id, extras):
            with pytest.raises(CuboidDecodeError):
                read_part(flipped)
    for size in range(len(header)):
        with pytest.raises(CuboidDecodeError):
            write_id(memoryview(header)[:size])


def test_a_header_is_not_packed_from_wrong_parts():
    with pytest.raises(InvalidArgumentError, match="16 bytes"):
        pack_header(b"short", b"")
    with pytest.raises(PayloadTooLargeError):
        pack_header(WRITE_ID, bytes(MAX_EXTRAS_BYTES + 1))


@pytest.mark.parametrize("edge", [1, 2, 4])
@pytest.mark.parametrize("section", [b"", b"extras"])
def test_an_object_without_frames_is_empty_and_its_damage_is_found(edge, section):
    layout = CuboidLayout(np.dtype("u1"), (8, 8, 8), edge, IMAGE_CODEC)
    header = pack_header(WRITE_ID, section)
    data = header + packed(layout)
    assert is_empty(memoryview(data))
    for at, flipped in enumerate(damaged(data, step=8)):
        try:
            empty = is_empty(flipped)
        except CuboidDecodeError:
            continue
        # The first byte of the body is what tells an index from a frame.
        assert not empty
        assert at == len(header)
