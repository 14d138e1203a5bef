import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ndlambda.client.transport.blocks import BlockPlan
from ndlambda.space.box import Box


@st.composite
def boxes(draw):
    corner = tuple(draw(st.integers(5, 20)) for _ in "xyz")
    return Box.at(corner, tuple(draw(st.integers(1, 12)) for _ in "xyz"))


@given(boxes(), st.tuples(*[st.integers(1, 6)] * 3), st.integers(1, 5))
def test_blocks_tile_box_and_times_exactly(box, block_xyz, times):
    plan = BlockPlan((5, 5, 5), block_xyz)
    hits = np.zeros((times, *box.shape_zyx), int)
    for block in plan.split(box, (3, 3 + times)):
        place = slice(block.times[0] - 3, block.times[1] - 3)
        hits[place, *block.box.slices_zyx(box.start_xyz)] += 1
        assert block.voxels <= math.prod(block_xyz)
    assert (hits == 1).all()


def test_large_boxes_are_cut_at_the_grid_that_starts_at_the_offset():
    plan = BlockPlan((0, 0, 1), (4, 4, 2))
    blocks = list(plan.split(Box((2, 0, 2), (10, 4, 6)), (0, 1)))
    assert {block.box.start_xyz[0] for block in blocks} == {2, 4, 8}
    assert {block.box.start_xyz[2] for block in blocks} == {2, 3, 5}


def test_a_box_of_at_most_one_block_is_one_request_wherever_it_lies():
    plan = BlockPlan((0, 0, 0), (4, 4, 2))
    assert len(list(plan.split(Box((2, 2, 1), (6, 6, 3)), (0, 1)))) == 1


def test_small_time_points_share_a_request():
    plan = BlockPlan((0, 0, 0), (4, 4, 4))
    blocks = list(plan.split(Box((0, 0, 0), (2, 2, 4)), (10, 19)))
    assert [block.times for block in blocks] == [(10, 14), (14, 18), (18, 19)]
