"""Boxes: half-open, never empty, x first in tuples and z first in arrays."""

import numpy as np
import pytest

from ndlambda.errors import EmptyBoxError
from ndlambda.space.box import Box


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("stop", [5, 4, -1])
def test_an_empty_or_reversed_range_is_refused_and_named(axis, stop):
    stops = [9, 9, 9]
    stops[axis] = stop
    with pytest.raises(EmptyBoxError, match=f"{'xyz'[axis]} range 5:{stop}") as refused:
        Box((5, 5, 5), tuple(stops))
    assert refused.value.details == {"axis": "xyz"[axis], "start": 5, "stop": stop}


def test_shapes_are_given_in_both_orders():
    box = Box((1, 2, 3), (11, 22, 33))
    assert box.shape_xyz == (10, 20, 30)
    assert box.shape_zyx == (30, 20, 10)
    assert box.voxels == 6000


def test_within_is_about_every_face():
    outer = Box((0, 0, 0), (10, 10, 10))
    assert outer.within(outer)
    assert Box((1, 1, 1), (9, 9, 9)).within(outer)
    for axis in range(3):
        for step in (-1, 1):
            by = [0, 0, 0]
            by[axis] = step
            assert not outer.shifted(tuple(by)).within(outer)


def test_boxes_that_only_touch_do_not_intersect():
    left = Box((0, 0, 0), (5, 5, 5))
    assert left.intersection(Box((5, 0, 0), (9, 5, 5))) is None
    assert left.intersection(Box((4, 4, 4), (9, 9, 9))) == Box((4, 4, 4), (5, 5, 5))


def test_slices_address_the_box_in_an_array_that_starts_at_an_origin():
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)  # z, y, x, first voxel at (100, 200, 300)
    box = Box((101, 202, 303), (104, 204, 304))
    piece = array[box.slices_zyx((100, 200, 300))]
    assert piece.shape == box.shape_zyx
    assert piece[0, 0, 0] == array[3, 2, 1]
