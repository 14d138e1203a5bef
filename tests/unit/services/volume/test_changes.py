"""What is stored of values that are pasted over a supercuboid that nobody has stored."""

import numpy as np
import pytest

from ndlambda.cuboids.layout import CuboidLayout
from ndlambda.model.catalog import CodecSpec
from ndlambda.services.volume.changes import plan_paste
from ndlambda.space.box import Box
from ndlambda.space.grid import cover

CUBOID_XYZ = (4, 4, 2)
EDGES_XYZ = (8, 8, 4)


def changed(values):
    (cell,) = cover(Box((0, 0, 0), values.shape[::-1]), EDGES_XYZ)
    layout = CuboidLayout(values.dtype, CUBOID_XYZ, 2, CodecSpec("zstd", 1, 0))
    return plan_paste(None, layout, cell, values)


def test_whole_cuboids_are_stored_as_they_come_without_a_copy():
    values = np.arange(1, 257, dtype=np.uint16).reshape(4, 8, 8)
    found = changed(values)
    assert sorted(found) == list(range(8))
    assert np.array_equal(found[3], values[:2, 4:, 4:])
    assert all(np.shares_memory(cuboid, values) for cuboid in found.values())


def test_a_cut_cuboid_is_filled_up_with_zeros():
    values = np.full((3, 8, 7), 5, np.uint16)
    cuboid = changed(values)[5]
    assert cuboid.shape == (2, 4, 4)
    assert cuboid.sum() == 5 * 1 * 4 * 3


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_a_minus_zero_is_stored_as_zero(dtype):
    """Seen to fail where floats were stored as they come."""
    values = np.ones((4, 8, 8), dtype)
    values[0, 0, 0] = -0.0
    assert not np.signbit(changed(values)[0]).any()


def test_a_cuboid_of_zeros_is_not_stored():
    values = np.ones((4, 8, 8), np.uint8)
    values[:2, :4, :4] = 0
    values[2:, :4, :4] = 0
    values[3, 3, 3] = 1  # not in its first plane
    assert sorted(changed(values)) == [1, 2, 3, 4, 5, 6, 7]
