import random

import numpy as np
import pytest
from numpy.typing import NDArray

from ndlambda.cuboids.layout import CuboidLayout, needed_slots
from ndlambda.cuboids.shard import pack_index
from ndlambda.cuboids.supercuboid import (
    MAX_GAP_BYTES,
    FrameSpan,
    ShardIndex,
    decode_box,
    decode_part,
    extras,
    fetch_frames,
    is_empty,
    plan_ranges,
    read_index,
    splice,
    write_id,
)
from ndlambda.errors import (
    CuboidDecodeError,
    DataTypeMismatchError,
    InvalidArgumentError,
    OutOfBoundsError,
    ShapeMismatchError,
)
from ndlambda.model.catalog import IMAGE_CODEC
from ndlambda.space import morton
from ndlambda.space.box import Box

LAYOUT = CuboidLayout(np.dtype("<u2"), (8, 4, 2), 2, IMAGE_CODEC)
WHOLE = Box((0, 0, 0), LAYOUT.supercuboid_xyz)
ONE, TWO = b"1" * 16, b"2" * 16


def cuboid(slot: int, layout: CuboidLayout = LAYOUT) -> NDArray[np.generic]:
    """Return voxels of which no two cuboids share one: (z, y, x)."""
    count = int(np.prod(layout.cuboid_shape_zyx))
    values = 1 + slot * count + np.arange(count)
    return values.astype(layout.dtype).reshape(layout.cuboid_shape_zyx)


def shard(*slots: int, layout: CuboidLayout = LAYOUT, section: bytes | None = None) -> memoryview:
    return memoryview(splice(None, layout, {s: cuboid(s, layout) for s in slots}, ONE, section))


def voxels(*slots: int, layout: CuboidLayout = LAYOUT) -> NDArray[np.generic]:
    x, y, z = layout.supercuboid_xyz
    out = np.zeros((z, y, x), layout.dtype)
    for slot in slots:
        ix, iy, iz = morton.decode(slot)
        depth, height, width = layout.cuboid_shape_zyx
        where = Box.at((ix * width, iy * height, iz * depth), layout.cuboid_xyz)
        out[where.slices_zyx()] = cuboid(slot, layout)
    return out


def read(data: memoryview, part: Box = WHOLE, layout: CuboidLayout = LAYOUT) -> NDArray[np.generic]:
    out = np.full(part.shape_zyx, 9, layout.dtype)
    decode_box(data, layout, part, out)
    return out


def index_of(data: memoryview, layout: CuboidLayout = LAYOUT) -> ShardIndex:
    return read_index(data[-layout.index_bytes :], layout, len(data))


def read_ranged(
    data: memoryview, part: Box = WHOLE, layout: CuboidLayout = LAYOUT
) -> tuple[NDArray[np.generic], list[FrameSpan]]:
    fetched: list[FrameSpan] = []
    out = np.full(part.shape_zyx, 9, layout.dtype)
    index, parts = index_of(data, layout), needed_slots(layout, part)
    frames = fetch_frames(
        index,
        plan_ranges(index, parts),
        lambda start, stop: fetched.append(FrameSpan(start, stop)) or data[start:stop],
    )
    for piece in parts:
        decode_part(frames.get(piece.slot), layout, piece, out)
    return out, fetched


def spans(**by_slot: tuple[int, int]) -> ShardIndex:
    """Return an index with the given slots: ``s0=(24, 100)``."""
    return ShardIndex(
        tuple(
            FrameSpan(*by_slot[f"s{slot}"]) if f"s{slot}" in by_slot else None for slot in range(8)
        )
    )


@pytest.mark.parametrize("slots", [(), (0,), (7,), (1, 2, 6), tuple(range(8))])
def test_an_object_and_its_index_tell_whether_it_is_empty(slots):
    data = shard(*slots)
    assert is_empty(data) == is_empty(index_of(data)) == (not slots)


def test_frames_lie_in_morton_order_without_gaps():
    layout = CuboidLayout(np.dtype("u1"), (2, 2, 2), 4, IMAGE_CODEC)
    data = shard(*reversed(range(64)), layout=layout)
    spans = index_of(data, layout).spans
    position = 24
    for span in spans:
        assert span is not None
        assert span.start == position
        position = span.stop
    assert position == len(data) - layout.index_bytes


def test_a_box_is_written_into_a_view_and_nowhere_else():
    part = Box((3, 1, 1), (13, 7, 3))
    room = np.full((4, 10, 30), 5, LAYOUT.dtype)
    decode_box(shard(0, 3, 4), LAYOUT, part, room[1:3, 2:8, 4:24:2])
    assert (room[1:3, 2:8, 4:24:2] == voxels(0, 3, 4)[part.slices_zyx()]).all()
    room[1:3, 2:8, 4:24:2] = 5
    assert (room == 5).all()


def test_reading_refuses_a_target_or_part_that_does_not_fit():
    data = shard(0)
    for error, reader in [
        (OutOfBoundsError, lambda: read(data, WHOLE.shifted((1, 0, 0)))),
        (OutOfBoundsError, lambda: read_ranged(data, WHOLE.shifted((1, 0, 0)))),
        (ShapeMismatchError, lambda: decode_box(data, LAYOUT, WHOLE, np.zeros((4, 8, 15), "<u2"))),
        (DataTypeMismatchError, lambda: decode_box(data, LAYOUT, WHOLE, voxels().astype("<i2"))),
    ]:  # fmt: skip
        with pytest.raises(error):
            reader()


def test_only_needed_frames_are_fetched():
    data = shard(*range(8))
    out, fetched = read_ranged(data, Box((0, 0, 0), (16, 8, 2)))
    index = index_of(data)
    assert (out == voxels(*range(8))[:2]).all()
    assert fetched == [FrameSpan(index.span(0).start, index.span(3).stop)]
    out, fetched = read_ranged(shard(5), Box((0, 0, 0), (8, 4, 2)))
    assert not out.any()
    assert fetched == []


FAR = 400 + MAX_GAP_BYTES + 1


@pytest.mark.parametrize(("index", "ranges", "slots"), [
    (spans(s0=(24, 100), s2=(300, 400), s3=(FAR, FAR + 50)),
     [(24, 400), (FAR, FAR + 50)], [[0, 2], [3]]),
    (spans(s0=(200, 300), s1=(24, 200)), [(200, 300), (24, 200)], [[0], [1]]),
], ids=["a large gap is not read along", "frames in another order are found"])  # fmt: skip
def test_ranges_are_planned_by_where_frames_lie(index, ranges, slots):
    plans = plan_ranges(index, needed_slots(LAYOUT, WHOLE))
    assert [plan.span for plan in plans] == [FrameSpan(*span) for span in ranges]
    assert [[piece.slot for piece in plan.parts] for plan in plans] == slots


@pytest.mark.parametrize("change", [-1, 1])
def test_a_range_of_another_length_than_asked_is_refused(change):
    data = shard(0, 1)
    index = index_of(data)
    plans = plan_ranges(index, needed_slots(LAYOUT, WHOLE))
    with pytest.raises(CuboidDecodeError, match="came with"):
        fetch_frames(index, plans, lambda start, stop: data[start : stop + change])


def test_splice_replaces_adds_and_removes_cuboids_and_keeps_the_others():
    data = shard(1, 2, 6)
    after = memoryview(splice(data, LAYOUT, {2: cuboid(5), 4: cuboid(4), 6: None}, TWO))
    index, before = index_of(after), index_of(data)
    assert [slot for slot in range(8) if index.present(slot)] == [1, 2, 4]
    assert after[slice(*index.span(1))] == data[slice(*before.span(1))]
    assert (read(after)[:2, 4:, :8] == cuboid(5)).all()
    assert (read(after)[2:, :4, :8] == cuboid(4)).all()
    assert write_id(after) == TWO


def test_an_all_zero_cuboid_is_not_stored():
    zeros = np.zeros(LAYOUT.cuboid_shape_zyx, LAYOUT.dtype)
    assert is_empty(memoryview(splice(shard(3), LAYOUT, {3: zeros}, TWO)))
    assert is_empty(memoryview(splice(None, LAYOUT, {3: zeros, 1: None}, TWO)))


@pytest.mark.parametrize(("bits", "stored"), [
    (0x80000000, False), (0x7FC00000, True), (0x00000001, True), (0x7F800001, True),
], ids=["minus zero", "nan", "subnormal", "signalling nan, without a warning"])  # fmt: skip
def test_floats_are_stored_bit_by_bit_but_minus_zero_is_zero(bits, stored):
    layout = CuboidLayout(np.dtype("<f4"), (4, 4, 4), 1, IMAGE_CODEC)
    array = np.zeros((4, 4, 4), "<u4")
    array[1, 2, 3] = bits
    data = memoryview(splice(None, layout, {0: array.view("<f4")}, ONE))
    assert is_empty(data) is not stored
    out = read(data, Box((0, 0, 0), (4, 4, 4)), layout)
    assert out.tobytes() == (array * stored).tobytes()


def test_splice_keeps_the_extras_unless_new_ones_are_given():
    data = shard(1, section=b"extra labels")
    assert extras(data) == b"extra labels"
    kept = memoryview(splice(data, LAYOUT, {0: cuboid(0)}, TWO))
    assert extras(kept) == b"extra labels"
    assert (read(kept) == voxels(0, 1)).all()
    assert extras(memoryview(splice(kept, LAYOUT, {}, ONE, b"new"))) == b"new"
    gone = memoryview(splice(kept, LAYOUT, {}, ONE, b""))
    assert extras(gone) == b""
    assert (read(gone) == voxels(0, 1)).all()


def test_two_writes_of_the_same_voxels_differ_in_the_write_id_only():
    data = shard(0, 5)
    again = splice(data, LAYOUT, {}, TWO)
    assert again[16:20] == data[16:20]
    assert again[24:] == data[24:]
    assert again != data


@pytest.mark.parametrize(("cuboids", "write", "error"), [
    ({8: cuboid(0)}, ONE, OutOfBoundsError),
    ({-1: None}, ONE, OutOfBoundsError),
    ({0: cuboid(0)[:, :, :7]}, ONE, ShapeMismatchError),
    ({0: cuboid(0).astype("<u4")}, ONE, DataTypeMismatchError),
    ({0: cuboid(0)}, b"", InvalidArgumentError),
], ids=["slot 8", "slot -1", "shape", "dtype", "no write id"])  # fmt: skip
def test_splice_refuses_what_does_not_fit(cuboids, write, error):
    with pytest.raises(error):
        splice(None, LAYOUT, cuboids, write)


def test_a_damaged_cuboid_stays_damaged_through_a_splice_until_it_is_replaced():
    data = bytearray(shard(1, 2))
    first, second = index_of(memoryview(data)).span(1), index_of(memoryview(data)).span(2)
    data[first.start + 30] ^= 1
    after = memoryview(splice(memoryview(data), LAYOUT, {2: cuboid(7)}, TWO))
    assert second.start == first.stop
    assert (read(after, Box((0, 4, 0), (8, 8, 2))) == cuboid(7)).all()
    with pytest.raises(CuboidDecodeError):
        read(after)
    mended = memoryview(splice(after, LAYOUT, {1: cuboid(1), 2: cuboid(2)}, ONE))
    assert (read(mended) == voxels(1, 2)).all()


@pytest.mark.parametrize("section", [None, b"new"])
def test_splice_refuses_a_damaged_header_or_index(section):
    data = shard(1, 2)
    for at in [*range(24), *range(len(data) - LAYOUT.index_bytes, len(data))]:
        flipped = bytearray(data)
        flipped[at] ^= 0x20
        with pytest.raises(CuboidDecodeError):
            splice(memoryview(flipped), LAYOUT, {0: cuboid(0)}, TWO, section)


def never_wrong(damaged: memoryview, right: NDArray[np.generic]) -> bool:
    """Read damaged bytes in both ways; return whether they still gave the right voxels."""
    survived = True
    for reader in (read, lambda data: read_ranged(data)[0]):
        try:
            out = reader(damaged)
        except CuboidDecodeError:
            survived = False
        else:
            assert (out == right).all(), "wrong voxels were given out"
    return survived


SOME = (0, 1, 3, 4, 6)


def test_no_flip_of_any_byte_gives_wrong_voxels():
    data, right = shard(*SOME, section=b"extra labels"), voxels(*SOME)
    header = 24 + len(b"extra labels")
    rng = random.Random(5)
    for at in range(len(data)):
        for mask in (0xFF, 1 << rng.randrange(8)):
            damaged = bytearray(data)
            damaged[at] ^= mask
            # The header takes no part in reading voxels; write_id() and extras() check it.
            assert never_wrong(memoryview(damaged), right) == (at < header)


def test_no_truncation_or_exchange_of_bytes_gives_wrong_voxels():
    data, right = shard(*SOME), voxels(*SOME)
    for cut in range(1, len(data) + 1):
        assert not never_wrong(data[: len(data) - cut], right)
        assert not never_wrong(data[cut:], right)
    rng = random.Random(6)
    for _ in range(300):
        a, b, c = sorted(rng.sample(range(len(data) + 1), 3))
        never_wrong(memoryview(bytes(data[:a]) + data[b:c] + data[a:b] + data[c:]), right)


def test_garbage_is_refused_and_under_a_right_index_too():
    rng = random.Random(8)
    for size in [0, 1, 19, 24, 131, 155, 156, 157, 500]:
        for data in (rng.randbytes(size), bytes(size), b"\xff" * size):
            assert not never_wrong(memoryview(data), voxels())
    for _ in range(200):
        stops = sorted(rng.sample(range(25, 500), 8))
        frames = [FrameSpan(a, b) for a, b in zip([24, *stops], stops, strict=False)]
        data = rng.randbytes(500) + pack_index(frames, LAYOUT)
        assert not never_wrong(memoryview(data), voxels())
