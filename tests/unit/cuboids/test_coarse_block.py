"""Supercuboids that fill up from finer ones, and objects taken apart into cuboids."""

import numpy as np
import pytest

from ndlambda.cuboids import supercuboid
from ndlambda.cuboids.coarse_block import CoarseBlock, Halving
from ndlambda.cuboids.label_block import LabelBlock
from ndlambda.cuboids.layout import CuboidLayout
from ndlambda.errors import CuboidDecodeError
from ndlambda.model.catalog import CodecSpec
from ndlambda.space import morton
from ndlambda.space.box import Box
from ndlambda.voxels.downsample import Method

WRITE_ID = bytes(16)


def layout(dtype: str, cuboid_xyz=(8, 8, 4), per_axis: int = 2) -> CuboidLayout:
    return CuboidLayout(np.dtype(dtype), cuboid_xyz, per_axis, CodecSpec("lz4", 1))


def test_slabs_fill_their_place_in_a_cube():
    slabs, cubes = layout("u1", (16, 16, 2), 1), layout("u1", (8, 8, 8), 1)
    block = CoarseBlock(Halving(slabs, cubes, (2, 2, 1), Method.MEAN, None), morton.encode(3, 2, 1))
    slab = np.full((2, 16, 16), 6, "u1")
    assert block.add(morton.encode(3, 2, 6), [(0, slab)]) == slab.size
    assert list(block.cuboids) == [0]
    assert np.unique(np.nonzero(block.cuboids[0])[0]).tolist() == [4, 5]
    assert (block.cuboids[0][4:6] == 6).all()


ONE = layout("u1", (8, 8, 8), 1)


def test_voxels_outside_the_bounds_have_no_part():
    bounds = Box((0, 0, 0), (3, 8, 8))
    block = CoarseBlock(Halving(ONE, ONE, (2, 2, 2), Method.MEAN, bounds), 0)
    cuboid = np.full((8, 8, 8), 10, "u1")
    cuboid[:, :, 3:] = 255
    assert (block.add(0, [(0, cuboid)]), block.add(1, [(0, cuboid)])) == (3 * 8 * 8, 0)
    assert (block.cuboids[0][:4, :4, :2] == 10).all()
    assert block.cuboids[0].sum() == 10 * 4 * 4 * 2


def test_cuboids_that_come_to_zero_are_not_held():
    block = CoarseBlock(Halving(ONE, ONE, (2, 2, 2), Method.MEAN, None), 0)
    faint = np.zeros((8, 8, 8), "u1")
    faint[0, 0, 0] = 1
    block.add(0, [(0, faint)])
    assert block.cuboids == {}


def test_an_object_is_taken_apart_into_the_cuboids_that_it_holds():
    two = layout("<u2")
    wanted = {slot: np.full(two.cuboid_shape_zyx, slot, "<u2") for slot in (1, 6)}
    data = supercuboid.splice(None, two, wanted, WRITE_ID)
    found = dict(supercuboid.present_cuboids(memoryview(data), two))
    assert found.keys() == wanted.keys()
    for slot, cuboid in found.items():
        np.testing.assert_array_equal(cuboid, wanted[slot])
    with pytest.raises(CuboidDecodeError):
        list(supercuboid.present_cuboids(memoryview(data[:40] + b"?" + data[41:]), two))


def test_labels_are_replaced_wholly_and_what_comes_and_goes_is_told():
    two = layout("<u4")
    first, second = (np.full(two.cuboid_shape_zyx, label, "<u4") for label in (5, 6))
    old = supercuboid.splice(None, two, {0: first, 3: first, 4: second}, WRITE_ID)
    block = LabelBlock(memoryview(old), two)
    change = block.replaced({0: first, 3: second})
    assert change.appeared == {6: {3}}
    assert change.vanished == {5: {3}, 6: {4}}
    new = LabelBlock(memoryview(block.rewritten(change, WRITE_ID)), two)
    assert [sorted(new.labels(slot)) for slot in range(8)] == [[5], [], [], [6], [], [], [], []]


def test_the_same_labels_are_put_again():
    two = layout("<u4")
    block = LabelBlock(None, two)
    assert not block.is_stored
    change = block.replaced({})
    assert not change.is_none
    assert change.appeared == change.vanished == {}
