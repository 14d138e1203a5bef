"""Pyramids against the documents that ndstore prints for three datasets."""

import pytest

from ndlambda.errors import ResolutionNotFoundError
from ndlambda.space.box import Box
from ndlambda.space.pyramid import CUBE_CUBOID_XYZ, SLAB_CUBOID_XYZ, Pyramid, Scaling

SLAB, CUBE = SLAB_CUBOID_XYZ, CUBE_CUBOID_XYZ
KASTHURI = Pyramid((21504, 26624, 1850), (0, 0, 1), (1.0, 1.0, 10.0), Scaling.ZSLICES, 7)
UNITTEST = Pyramid((10000, 10000, 1000), (0, 0, 1), (4.0, 4.0, 3.0), Scaling.ZSLICES, 5)
ISOTROPIC = Pyramid((1000, 1000, 128), (0, 0, 1), (1.0, 1.0, 1.0), Scaling.ISOTROPIC, 5)


def test_kasthuri_levels():
    levels = KASTHURI.all_levels()
    assert [level.resolution for level in levels] == list(range(8))
    assert levels[0].imagesize_xyz == (21504, 26624, 1850)
    assert levels[5].imagesize_xyz == (672, 832, 1850)
    assert levels[7].imagesize_xyz == (168, 208, 1850)
    assert [level.cuboid_xyz for level in levels] == [SLAB] * 5 + [CUBE] * 3
    assert [level.neariso_scaledown for level in levels] == [1, 1, 1, 1, 2, 3, 6, 13]
    assert [level.neariso_imagesize_xyz[2] for level in levels] == [
        *[1850] * 4, 925, 616, 308, 142,
    ]  # fmt: skip
    assert all(level.offset_xyz == (0, 0, 1) for level in levels)
    assert levels[7].voxelres_xyz == (128.0, 128.0, 10.0)
    assert levels[7].neariso_voxelres_xyz == (128.0, 128.0, 130.0)
    assert levels[4].neariso_offset_xyz == (0.0, 0.0, 0.5)


def test_unittest_levels():
    levels = UNITTEST.all_levels()
    assert levels[5].imagesize_xyz == (313, 313, 1000)
    assert [level.cuboid_xyz for level in levels] == [SLAB] + [CUBE] * 5
    assert [level.scale_xz for level in levels] == [
        0.75, 0.375, 0.1875, 0.09375, 0.046875, 0.0234375,
    ]  # fmt: skip
    assert [level.neariso_scaledown for level in levels] == [1, 3, 5, 11, 21, 43]
    assert [level.neariso_imagesize_xyz[2] for level in levels] == [1000, 333, 200, 90, 47, 23]


def test_isotropic_levels():
    levels = ISOTROPIC.all_levels()
    assert [level.imagesize_xyz[2] for level in levels] == [128, 64, 32, 16, 8, 4]
    assert [level.offset_xyz[2] for level in levels] == [1, 0, 0, 0, 0, 0]
    assert all(level.cuboid_xyz == CUBE for level in levels)
    assert all(level.neariso_scaledown == 1 for level in levels)
    assert levels[5].voxelres_xyz == (32.0, 32.0, 32.0)


@pytest.mark.parametrize(("size_xyz", "voxelres_xyz", "expected"), [
    # ndstore's "xz" scale is z over y, but its cuboid rule divides z by x.
    ((64, 64, 64), (1.0, 8.0, 2.0), {"scale_xz": 0.25, "neariso_scaledown": 4, "cuboid_xyz": SLAB}),
    ((8, 8, 8), (5.0, 5.0, 2.0), {"neariso_scaledown": 3}),
    ((8, 8, 8), (2.0, 2.0, 1.0), {"cuboid_xyz": CUBE}),
    ((999, 999, 5), (16.0, 16.0, 1.0),
     {"neariso_scaledown": 16, "neariso_imagesize_xyz": (999, 999, 1)}),
], ids=["factor by y", "half-way goes up", "one half: cubes", "one slice at least"])  # fmt: skip
def test_level_0_by_voxel_size(size_xyz, voxelres_xyz, expected):
    level = Pyramid(size_xyz, (0, 0, 0), voxelres_xyz, Scaling.ZSLICES, 0).level(0)
    assert {name: getattr(level, name) for name in expected} == expected


def test_offsets_in_x_and_y_shrink_by_flooring_and_boxes_are_zero_based():
    level = Pyramid((64, 64, 64), (7, 9, 5), (1.0, 1.0, 1.0), Scaling.ZSLICES, 1).level(1)
    assert level.offset_xyz == (3, 4, 5)
    assert UNITTEST.level(5).box == Box((0, 0, 0), (313, 313, 1000))


@pytest.mark.parametrize("resolution", [-1, 6])
def test_levels_that_do_not_exist_are_refused(resolution):
    with pytest.raises(ResolutionNotFoundError) as refused:
        UNITTEST.level(resolution)
    assert refused.value.details == {"resolution": resolution, "levels": 5}
