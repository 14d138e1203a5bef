import struct

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


def spans_of(layout: CuboidLayout, **by_slot: tuple[int, int]) -> tuple[FrameSpan | None, ...]:
    return tuple(
        FrameSpan(*by_slot[f"s{slot}"]) if f"s{slot}" in by_slot else None
        for slot in range(layout.slots)
    )


def read(layout: CuboidLayout, **by_slot: tuple[int, int]) -> ShardIndex:
    return read_index(memoryview(pack_index(spans_of(layout, **by_slot), layout)), layout, SIZE)


@pytest.mark.parametrize("layout", [LAYOUT, WIDE])
def test_an_index_is_read_as_it_was_packed(layout):
    index = read(layout, s1=(24, 100), s6=(100, 300))
    assert [slot for slot in range(layout.slots) if index.present(slot)] == [1, 6]
    assert index.span(6) == (100, 300)
    assert not is_empty(index)
    with pytest.raises(KeyError):
        index.span(0)


def test_an_index_entry_stands_where_zarr_looks_for_it():
    slot = morton.encode(1, 2, 3)
    packed = pack_index(spans_of(WIDE, **{f"s{slot}": (24, 100)}), WIDE)
    entries = np.frombuffer(packed[:-4], "<u8").reshape(4, 4, 4, 2)
    assert entries[3, 2, 1].tolist() == [24, 76]
    assert (np.delete(entries.reshape(64, 2), (3 * 4 + 2) * 4 + 1, axis=0) == 2**64 - 1).all()


@pytest.mark.parametrize(
    "by_slot",
    [
        {"s0": (23, 50)},  # in the header
        {"s0": (SIZE - LAYOUT.index_bytes - 5, SIZE - LAYOUT.index_bytes + 1)},  # in the index
        {"s0": (2**63, 2**63 + 8)},
        {"s0": (2**64 - 1, 2**64)},  # half of what marks a missing cuboid
        {"s0": (50, 50)},
        {"s0": (24, 24 + LAYOUT.max_frame_bytes + 1)},
        {"s0": (24, 100), "s3": (99, 200)},
        {"s0": (24, 100), "s3": (24, 100)},
        {"s5": (24, 300), "s1": (30, 40)},
    ],
)
def test_impossible_spans_are_refused(by_slot):
    with pytest.raises(CuboidDecodeError, match=r"outside|length|overlap"):
        read(LAYOUT, **by_slot)


def test_an_offset_and_length_that_wrap_around_are_refused():
    body = struct.pack("<16Q", 2**64 - 10, 40, *([2**64 - 1] * 14))
    with pytest.raises(CuboidDecodeError, match="outside"):
        read_index(memoryview(body + checksum(memoryview(body))), LAYOUT, SIZE)


def test_every_bit_flip_and_every_truncation_of_an_index_is_found():
    packed = pack_index(spans_of(LAYOUT, s1=(24, 100), s6=(100, 300)), LAYOUT)
    for bit in range(8 * len(packed)):
        flipped = bytearray(packed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CuboidDecodeError, match="checksum"):
            read_index(memoryview(flipped), LAYOUT, SIZE)
    for size in range(len(packed)):
        with pytest.raises(CuboidDecodeError):
            read_index(memoryview(packed)[:size], LAYOUT, SIZE)


def test_an_object_too_short_for_its_index_is_refused():
    tail = memoryview(pack_index(spans_of(LAYOUT), LAYOUT))
    smallest = 24 + LAYOUT.index_bytes
    assert is_empty(read_index(tail, LAYOUT, smallest))
    with pytest.raises(CuboidDecodeError, match="short"):
        read_index(tail, LAYOUT, smallest - 1)


@pytest.mark.parametrize("section", [b"", b"x", bytes(1000)])
def test_write_id_and_extras_are_read_as_they_were_packed(section):
    data = memoryview(pack_header(WRITE_ID, section) + b"frames and index")
    assert write_id(data) == WRITE_ID
    assert extras(data) == section


def test_every_bit_flip_and_every_truncation_of_a_header_is_found():
    header = pack_header(WRITE_ID, b"some extras")
    for bit in range(8 * len(header)):
        flipped = bytearray(header)
        flipped[bit // 8] ^= 1 << bit % 8
        for read_part in (write_id, extras):
            with pytest.raises(CuboidDecodeError):
                read_part(memoryview(flipped))
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
    data = pack_header(WRITE_ID, section) + pack_index(spans_of(layout), layout)
    assert is_empty(memoryview(data))
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 0x10
        try:
            empty = is_empty(memoryview(flipped))
        except CuboidDecodeError:
            continue
        # The first byte of the body is what tells an index from a frame.
        assert not empty
        assert at == len(pack_header(WRITE_ID, section))


def test_an_object_longer_than_any_can_be_is_refused():
    tail = memoryview(pack_index(spans_of(LAYOUT), LAYOUT))
    assert read_index(tail, LAYOUT, LAYOUT.max_object_bytes).is_empty
    with pytest.raises(CuboidDecodeError, match="too long"):
        read_index(tail, LAYOUT, LAYOUT.max_object_bytes + 1)
