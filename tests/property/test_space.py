"""Laws of Morton codes, boxes, covers and pyramids."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ndlambda.space import grid, morton
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Pyramid, Scaling

indices = st.integers(0, morton.AXIS_LIMIT - 1)
triples = st.tuples(indices, indices, indices)


def boxes(low, high, longest):
    corner = st.tuples(*[st.integers(low, high)] * 3)
    shape = st.tuples(*[st.integers(1, longest)] * 3)
    return st.builds(Box.at, corner, shape)


def points(box):
    (x0, y0, z0), (x1, y1, z1) = box.start_xyz, box.stop_xyz
    return {(x, y, z) for x in range(x0, x1) for y in range(y0, y1) for z in range(z0, z1)}


def interleaved(x, y, z):
    return sum(
        (value >> bit & 1) << (3 * bit + axis)
        for axis, value in enumerate((x, y, z))
        for bit in range(21)
    )


@given(triples)
def test_a_code_is_the_interleaving_of_its_bits_and_decodes(index_xyz):
    code = morton.encode(*index_xyz)
    assert code == interleaved(*index_xyz)
    assert morton.decode(code) == index_xyz


@given(st.lists(triples, min_size=1, max_size=30))
def test_many_at_once_equal_one_by_one(many):
    array = np.array(many)
    codes = morton.encode_indices(array)
    assert codes.tolist() == [morton.encode(*one) for one in many]
    assert np.array_equal(morton.decode_codes(codes), array)


@given(triples, st.tuples(*[st.integers(1, 4)] * 3))
def test_a_plan_equals_encoding_each_index(corner, shape):
    start = tuple(min(c, morton.AXIS_LIMIT - s) for c, s in zip(corner, shape, strict=True))
    stop = tuple(c + s for c, s in zip(start, shape, strict=True))
    codes = morton.plan(start, stop)
    assert codes.shape == shape[::-1]
    for (z, y, x), code in np.ndenumerate(codes):
        assert code == morton.encode(start[0] + x, start[1] + y, start[2] + z)


@given(boxes(-6, 6, 6), boxes(-6, 6, 6))
def test_an_intersection_holds_the_common_voxels(one, other):
    common = one.intersection(other)
    assert (points(common) if common else set()) == points(one) & points(other)
    assert common == other.intersection(one)
    assert one.within(other) == (points(one) <= points(other))


@given(boxes(0, 100, 14), st.tuples(*[st.integers(1, 12)] * 3))
def test_a_cover_tiles_the_box_exactly(box, cell_xyz):
    hits = np.zeros(box.shape_zyx, dtype=np.uint8)
    cells = list(grid.cover(box, cell_xyz))
    for cell in cells:
        assert cell.part.within(cell.box)
        assert cell.part.within(box)
        assert cell.box.shape_xyz == cell_xyz
        index = morton.decode(cell.code)
        assert cell.box.start_xyz == tuple(i * c for i, c in zip(index, cell_xyz, strict=True))
        hits[cell.part.slices_zyx(box.start_xyz)] += 1
    assert (hits == 1).all()
    assert len({cell.code for cell in cells}) == len(cells) == grid.cell_count(box, cell_xyz)


sizes = st.tuples(*[st.integers(1, 1 << 20)] * 3)
lengths = st.floats(0.25, 100, allow_nan=False).map(lambda length: round(length, 2))


@given(
    sizes,
    st.tuples(*[st.integers(0, 10_000)] * 3),
    st.tuples(lengths, lengths, lengths),
    st.sampled_from(Scaling),
    st.integers(0, 10),
)
def test_a_level_is_the_dataset_divided(size, offset, voxelres, scaling, resolution):
    level = Pyramid(size, offset, voxelres, scaling, 10).level(resolution)
    step = 2**resolution
    steps = (step, step, step if scaling is Scaling.ISOTROPIC else 1)
    assert level.imagesize_xyz == tuple(
        math.ceil(Fraction(s, f)) for s, f in zip(size, steps, strict=True)
    )
    assert level.offset_xyz == tuple(
        math.floor(Fraction(o, f)) for o, f in zip(offset, steps, strict=True)
    )
    assert level.voxelres_xyz == tuple(v * f for v, f in zip(voxelres, steps, strict=True))
    assert level.neariso_scaledown >= 1
    assert min(level.neariso_imagesize_xyz) >= 1


@given(st.tuples(lengths, lengths, lengths), st.integers(0, 10))
def test_the_near_isotropic_factor_is_the_nearest_whole_number(voxelres, resolution):
    level = Pyramid((64, 64, 64), (0, 0, 0), voxelres, Scaling.ZSLICES, 10).level(resolution)
    exact = max(1.0, 1 / level.scale_xz)
    assert abs(level.neariso_scaledown - exact) <= 0.5
