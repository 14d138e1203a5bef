import numpy as np
import pytest

from ndlambda.cuboids.layout import CuboidLayout, index_entries, needed_slots
from ndlambda.errors import InvalidArgumentError, OutOfBoundsError
from ndlambda.model.catalog import IMAGE_CODEC
from ndlambda.space import morton
from ndlambda.space.box import Box

LAYOUT = CuboidLayout(np.dtype("<u2"), (32, 16, 8), 2, IMAGE_CODEC)


def test_sizes_follow_from_the_cuboid_and_the_edge():
    assert LAYOUT.supercuboid_xyz == (64, 32, 16)
    assert LAYOUT.slots == 8
    assert LAYOUT.cuboid_shape_zyx == (8, 16, 32)
    assert LAYOUT.cuboid_bytes == 8 * 16 * 32 * 2
    assert LAYOUT.index_bytes == 8 * 16 + 4


@pytest.mark.parametrize(("edge", "dtype", "match"), [
    *((edge, "u1", "1, 2 or 4") for edge in (0, 3, 8)),
    *((2, dtype, "little-endian") for dtype in (">u4", "S3", "O", "c8")),
])  # fmt: skip
def test_other_edges_and_dtypes_are_refused(edge, dtype, match):
    with pytest.raises(InvalidArgumentError, match=match):
        CuboidLayout(np.dtype(dtype), (8, 8, 8), edge, IMAGE_CODEC)


def test_a_box_in_one_cuboid_needs_one_slot():
    (piece,) = needed_slots(LAYOUT, Box((40, 3, 9), (50, 4, 12)))
    assert piece.slot == morton.encode(1, 0, 1)
    assert piece.box == Box((8, 3, 1), (18, 4, 4))
    assert piece.where == (slice(0, 3), slice(0, 1), slice(0, 10))


@pytest.mark.parametrize("edge", [1, 2, 4])
def test_the_parts_of_a_whole_supercuboid_are_all_slots_in_morton_order(edge):
    layout = CuboidLayout(np.dtype("u1"), (4, 4, 4), edge, IMAGE_CODEC)
    parts = needed_slots(layout, Box((0, 0, 0), layout.supercuboid_xyz))
    assert [piece.slot for piece in parts] == list(range(edge**3))


def test_the_parts_tile_a_box_exactly():
    box = Box((5, 7, 3), (60, 30, 15))
    times_covered = np.zeros(box.shape_zyx, int)
    for piece in needed_slots(LAYOUT, box):
        times_covered[piece.where] += 1
        assert times_covered[piece.where].shape == piece.box.shape_zyx
    assert (times_covered == 1).all()


@pytest.mark.parametrize("box", [Box((-1, 0, 0), (2, 2, 2)), Box((0, 0, 0), (65, 1, 1))])
def test_a_part_outside_of_the_supercuboid_is_refused(box):
    with pytest.raises(OutOfBoundsError):
        needed_slots(LAYOUT, box)


def test_index_entries_are_c_ordered_while_slots_are_morton_ordered():
    entries = index_entries(4)
    assert sorted(entries) == list(range(64))
    assert entries[morton.encode(3, 0, 0)] == 3
    assert entries[morton.encode(0, 2, 0)] == 2 * 4
    assert entries[morton.encode(1, 2, 3)] == (3 * 4 + 2) * 4 + 1
