"""The tree of supercuboids, against the voxels that they hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndlambda.errors import InvalidArgumentError, ResolutionNotFoundError
from ndlambda.space import morton
from ndlambda.space.ancestry import Ancestry, CodeRange, Step, has_neariso
from ndlambda.space.pyramid import Pyramid, Scaling

KASTHURI = Pyramid((21504, 26624, 1850), (0, 0, 1), (1.0, 1.0, 10.0), Scaling.ZSLICES, 7)
ISOTROPIC = Pyramid((1000, 1000, 128), (0, 0, 1), (1.0, 1.0, 1.0), Scaling.ISOTROPIC, 5)

pyramids = st.builds(
    Pyramid,
    st.just((5000, 4000, 300)),
    st.just((0, 0, 1)),
    st.tuples(st.just(1.0), st.just(1.0), st.sampled_from([0.4, 0.6, 1.0, 2.0, 10.0, 30.0])),
    st.sampled_from(list(Scaling)),
    st.just(6),
)
ancestries = st.builds(Ancestry, pyramids, st.sampled_from([1, 2, 4]))
indices = st.tuples(*[st.integers(0, 40)] * 3)


def factors(ancestry: Ancestry, levels: int) -> tuple[int, int, int]:
    z = 1 if ancestry.pyramid.scaling is Scaling.ZSLICES else 2**levels
    return 2**levels, 2**levels, z


@given(ancestry=ancestries, resolution=st.integers(0, 5), index=indices)
def test_the_parent_holds_every_voxel_that_a_supercuboid_makes(ancestry, resolution, index):
    parent = morton.decode(ancestry.parent(resolution, morton.encode(*index)))
    fine, coarse = (ancestry.supercuboid_xyz(r) for r in (resolution, resolution + 1))
    for axis, factor in enumerate(factors(ancestry, 1)):
        first = index[axis] * fine[axis] // factor
        last = ((index[axis] + 1) * fine[axis] - 1) // factor
        assert first // coarse[axis] == last // coarse[axis] == parent[axis]


@given(ancestry=ancestries, resolution=st.integers(1, 6), index=indices)
def test_children_are_those_whose_parent_it_is(ancestry, resolution, index):
    code = morton.encode(*index)
    children = ancestry.children(resolution, code)
    assert list(children) == sorted(set(children))
    assert len(children) == ancestry.leaves(resolution, 1)
    assert {ancestry.parent(resolution - 1, child) for child in children} == {code}


@given(
    ancestry=ancestries, source=st.integers(0, 4), depth=st.integers(0, 2), codes=st.sets(indices)
)
def test_roots_are_parents_of_parents(ancestry, source, depth, codes):
    array = np.array(sorted(morton.encode(*each) for each in codes), np.uint64)
    wanted = set()
    for code in array.tolist():
        above = code
        for resolution in range(source, source + depth):
            above = ancestry.parent(resolution, above)
        assert ancestry.root(source, code, depth) == above
        wanted.add(above)
    assert ancestry.roots(source, array, depth).tolist() == sorted(wanted)


@given(ancestry=ancestries, source=st.integers(0, 3), depth=st.integers(1, 3), index=indices)
def test_all_leaves_of_a_root_lie_in_its_range_of_codes(ancestry, source, depth, index):
    root = ancestry.root(source, morton.encode(*index), depth)
    box = ancestry.descendants(source + depth, root, depth)
    leaves = morton.plan(box.start_xyz, box.stop_xyz)
    codes = ancestry.descendant_codes(source + depth, root, depth)
    assert leaves.size == ancestry.leaves(source + depth, depth)
    assert (int(leaves.min()), int(leaves.max())) == (codes.first, codes.last)
    assert morton.encode(*index) in leaves
    assert set(ancestry.roots(source, leaves.reshape(-1), depth).tolist()) == {root}


def test_between_isotropic_levels_the_range_holds_the_leaves_only():
    assert Ancestry(ISOTROPIC, 2).descendant_codes(3, 5, 3) == CodeRange(5 * 512, 6 * 512 - 1)


def test_slabs_give_way_to_cubes():
    ancestry = Ancestry(KASTHURI, 2)
    assert ancestry.step(4) == Step((2, 2, 1), (2, 2, 1))  # slabs of slabs
    assert ancestry.step(5) == Step((2, 2, 1), (1, 1, 4))  # cubes of slabs
    assert ancestry.step(6) == Step((2, 2, 1), (2, 2, 1))  # cubes of cubes
    assert ancestry.step(5, neariso=True) == Step((2, 2, 2), (1, 1, 8))


def test_the_near_isotropic_variant_ends_before_the_slices_do():
    ancestry = Ancestry(KASTHURI, 1)
    level = KASTHURI.level(6)
    assert has_neariso(level)
    assert level.neariso_imagesize_xyz[2] == 308  # 4.8 cubes, of twice as many slices
    inside, outside = morton.encode(3, 2, 9), morton.encode(3, 2, 10)
    assert ancestry.neariso_parent(5, inside) == morton.encode(1, 1, 4)
    assert ancestry.neariso_parent(5, outside) is None
    children = ancestry.children(6, morton.encode(1, 1, 4), neariso=True)
    assert inside in children
    assert len(children) == 8


def test_levels_without_a_near_isotropic_variant_have_no_parent_there():
    assert Ancestry(KASTHURI, 1).neariso_parent(0, 0) is None
    assert Ancestry(ISOTROPIC, 1).neariso_parent(0, 0) is None
    assert not has_neariso(Pyramid((9, 9, 9), (0, 0, 0), (4.0, 4.0, 1.0), Scaling(0), 1).level(0))


@pytest.mark.parametrize(
    ("source", "deepest", "most", "depth"),
    [(0, 3, 512, 3), (0, 3, 511, 2), (0, 3, 1, 1), (3, 3, 512, 2), (4, 3, 512, 1), (0, 9, 512, 3)],
)
def test_a_band_is_as_deep_as_leaves_and_levels_allow(source, deepest, most, depth):
    assert Ancestry(ISOTROPIC, 2).band_depth(source, deepest, most) == depth


def test_level_0_and_levels_that_are_not_there_are_made_from_nothing():
    ancestry = Ancestry(ISOTROPIC, 2)
    with pytest.raises(InvalidArgumentError):
        ancestry.step(0)
    with pytest.raises(ResolutionNotFoundError):
        ancestry.parent(5, 0)
