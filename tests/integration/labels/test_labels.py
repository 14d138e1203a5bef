"""Labels painted, found and erased, on files and on the AWS stores."""

from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest

from ndlambda.errors import (
    DataTypeMismatchError,
    InvalidArgumentError,
    InvalidStateError,
    OutOfBoundsError,
    ReadOnlyChannelError,
    ShapeMismatchError,
)
from ndlambda.model.catalog import Channel
from ndlambda.model.discipline import Discipline
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.propagation import PropagateState
from ndlambda.services.labels.bounding_box import cuboids_box
from ndlambda.services.labels.ids import counter_key
from ndlambda.services.labels.index import IndexRow, LabelIndex, LabelLayer, entry_key
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.service import LabelService
from ndlambda.services.labels.zoom import LabelView
from ndlambda.services.volume.region import Region
from ndlambda.space.box import Box
from ndlambda.stores.ports import Row
from ndlambda.testing.counting import CountingStores
from tests.support.label_world import (
    CUBES,
    DATASET,
    LabelWorld,
    channel,
    disk_stores,
    drawn,
    filled,
    labels_in,
    missing,
    points_of,
    region,
)

LEVEL = DATASET.pyramid.level(0)
BIG = 2**64 - 1
BOX = Box((0, 0, 0), (4, 4, 4))


@pytest.fixture(params=["disk", "moto"])
def world(request, tmp_path, pools):
    if request.param == "disk":
        return LabelWorld(*disk_stores(tmp_path), *pools)
    from ndlambda.stores.aws import DynamoTable, S3ObjectStore, create_bucket, create_table

    config = request.getfixturevalue("moto_config")
    name = f"labels-{uuid4().hex}"
    create_bucket(config, name)
    create_table(config, name)
    return LabelWorld(S3ObjectStore(config, name), DynamoTable(config, name), *pools)


@pytest.fixture
def disk(tmp_path, pools):
    return LabelWorld(*disk_stores(tmp_path), *pools)


def paint(labels: LabelService, target: Channel, box: Box, label: int, how: str = "overwrite"):
    """Paint a box of the first dataset."""
    values = filled(box, label, target.dtype)
    labels.paint(target, region(DATASET, box), values, Discipline(how))


def volume(target: Channel, time_point: int = 0) -> LabelVolume:
    return LabelVolume(target, LEVEL, time_point)


def box_of(labels: LabelService, target: Channel, label: int) -> Box | None:
    return labels.read.shapes.bounding_box(LabelView(volume(target)), [label])


def test_what_is_painted_is_found_in_every_way(world):
    labels, target = world.service(), channel()
    box, other = Box((100, 90, 5), (140, 140, 20)), Box((10, 10, 30), (20, 12, 33))
    paint(labels, target, box, BIG)
    paint(labels, target, other, 7)

    whole = region(DATASET, LEVEL.box)
    assert labels_in(labels, target, whole) == [7, BIG]
    assert labels_in(labels, target, region(DATASET, other)) == [7]
    assert box_of(labels, target, BIG) == box
    codes = labels.read.cuboids_of(volume(target), BIG)
    assert codes.size == 8
    assert cuboids_box(codes, LEVEL.cuboid_xyz) == Box((0, 0, 0), (256, 256, 32))
    points = points_of(labels, volume(target), 7)
    expected = [[x, y, z] for z in (30, 31, 32) for y in (10, 11) for x in range(10, 20)]
    assert points.tolist() == expected  # cuboid by cuboid (z 32 is in the next), in C order
    mask = drawn(labels, volume(target), [7])
    assert mask.sum() == other.voxels
    assert mask[other.slices_zyx()].all()
    assert world.indexed(target) == world.truth(DATASET, target)
    column = volume(target).cells(Box((0, 0, 0), (9, 9, 40)))
    assert LabelIndex(world.table).cuboids(volume(target).scope, BIG, column).size == 2


def test_an_unknown_label_is_nowhere(disk):
    labels, target = disk.service(), channel()
    assert box_of(labels, target, 5) is None
    assert labels.read.cuboids_of(volume(target), 5).size == 0
    assert points_of(labels, volume(target), 5).shape == (0, 3)
    assert labels_in(labels, target, region(DATASET, LEVEL.box)) == []
    assert not drawn(labels, volume(target), [5]).any()
    assert len(labels.read.exceptions_in(target, region(DATASET, LEVEL.box)).points_xyz) == 0
    labels.erase_labels(DATASET, target, [5])
    assert disk.objects.get(volume(target).key(0)) is None


@pytest.mark.parametrize(("points", "label", "error"), [
    (np.zeros((2, 2), int), 1, ShapeMismatchError), (np.zeros(3, int), 1, ShapeMismatchError),
    (np.zeros((1, 3)), 1, DataTypeMismatchError), (np.array([[0, -1, 0]]), 1, OutOfBoundsError),
    (np.array([[0, 0, 2**21]]), 1, OutOfBoundsError),
    (np.array([[2**64 - 1, 0, 0]], np.uint64), 1, OutOfBoundsError),
    (np.array([[0, 0, 39], [0, 0, 40]]), 1, OutOfBoundsError),
    (np.array([[0, 0, 40]], np.int8), 1, OutOfBoundsError),
    *((np.zeros((1, 3), int), label, InvalidArgumentError) for label in (0, -1, 2**32)),
])  # fmt: skip
def test_lists_that_are_no_voxels_and_labels_that_do_not_fit_are_refused(
    disk, points, label, error
):
    target, stores = channel(datatype=DataType.UINT32), CountingStores()
    labels = stores.wrap(disk).service()
    with pytest.raises(error):
        labels.paint_voxels(volume(target), points, label, Discipline.OVERWRITE)
    assert stores.writes == 0


WHOLE = filled(BOX, 1)


def test_a_label_that_moves_to_the_next_cuboid_leaves_no_entry_behind(disk):
    """Within one object, in one call. Seen to fail where versions are read before it is entered."""
    labels, target = disk.service(), channel()
    box = Box((120, 0, 0), (136, 4, 1))  # its two halves are in two cuboids
    halves = np.repeat(np.array([1, 2], np.uint64), 8)
    for row in (halves, halves[::-1]):
        values = np.broadcast_to(row, (1, *box.shape_zyx))
        labels.paint(target, region(DATASET, box), values, Discipline.OVERWRITE)
        assert disk.indexed(target) == disk.truth(DATASET, target)
        assert [len(codes) for codes in disk.indexed(target).values()] == [1, 1]


def test_a_label_is_erased_at_all_resolutions_and_times(disk):
    labels, target = disk.service(), channel(endtime=2)
    box = Box((60, 60, 10), (80, 70, 20))
    places = [region(DATASET, box, time, level) for time in (0, 1) for level in (0, 1)]
    for place in places:
        for label in (1, 2):
            half = replace(place, box=box.shifted((label, 0, 0)))
            labels.paint(target, half, filled(box, label), Discipline.OVERWRITE)
    labels.erase_labels(DATASET, target, [1], resolution=1)
    assert [labels_in(labels, target, place) for place in places] == [[1, 2], [2]] * 2
    labels.erase_labels(DATASET, target, [1])
    assert [labels_in(labels, target, place) for place in places] == [[2]] * 4
    assert disk.indexed(target) == disk.truth(DATASET, target)
    rows = [disk.table.query(f"label#u1#{shard:02x}").rows for shard in range(16)]
    assert {row.sk[:16] for page in rows for row in page} == {f"{2:016x}"}


def test_stale_entries_are_swept_and_empty_rows_go(world):
    labels, target = world.service(), channel()
    box = Box((0, 0, 0), (20, 20, 20))
    paint(labels, target, box, 1)
    for label, code in ((1, 500), (1, 3), (9, 0), (9, 511), (9, 512), (8, 2**40)):
        bucket, member = code >> 9, code & 511
        labels._index.add(volume(target).scope, bucket, {label: {member}})
    assert box_of(labels, target, 1) == box
    assert box_of(labels, target, 9) is None
    swept = labels.sweeper.sweep(DATASET, target)
    assert (swept.removed, swept.left) == (6, 0)
    assert world.indexed(target) == world.truth(DATASET, target)
    rows = [row for n in range(16) for row in world.table.query(f"label#u1#{n:02x}").rows]
    assert len(rows) == 1
    assert labels.sweeper.sweep(DATASET, target).removed == 0
    assert labels_in(labels, target, region(DATASET, box)) == [1]


def test_a_label_in_every_cuboid_of_a_bucket_keeps_its_row_small(disk):
    labels, target = disk.service(), channel(uid="0123456789abcdef")
    labels._index.add(volume(target).scope, 2**53, {BIG: set(range(512))})
    assert len(disk.indexed(target)) == 1  # which asserts the size


def test_keys_of_index_rows_are_frozen():
    """What is stored must stay readable, and sort by label, resolution, time, Morton code."""
    key = entry_key(LabelLayer("c0ffee", 3, 70000), BIG, 2**40 + 5)
    assert key == ("label#c0ffee#0f", "ffffffffffffffff#03#00011170#00010000000005")
    assert IndexRow.from_row(Row(*key, members={4, 2}, version=6)) == IndexRow(
        LabelLayer("c0ffee", 3, 70000), BIG, 2**40 + 5, {2, 4}, 6
    )
    assert counter_key("c0ffee") == ("label#c0ffee", "ids")


def test_cuboids_of_a_large_box_come_from_a_range_of_the_index(disk):
    labels, target = disk.service(), channel()
    random = np.random.default_rng(3)
    index = random.integers(0, 100, (300, 3))
    size = replace(DATASET, imagesize_xyz=(12_800, 12_800, 1600))
    large = LabelVolume(target, size.pyramid.level(0), 0)
    for x, y, z in index.tolist():
        point = np.array([[x * 128, y * 128, z * 16]])
        labels.paint_voxels(large, point, 4, Discipline.OVERWRITE)
    for start, stop in (((3, 0, 7), (9, 99, 30)), ((5, 11, 2), (90, 95, 99))):
        inside = (index >= start).all(axis=1) & (index < stop).all(axis=1)
        expected = len(np.unique(index[inside], axis=0))
        codes = LabelIndex(disk.table).cuboids(large.scope, 4, Box(start, stop))
        assert codes.size == expected
        assert (np.diff(codes.astype(object)) > 0).all()


@pytest.mark.parametrize(("changes", "box", "array", "discipline", "error"), [
    ({"readonly": True}, BOX, WHOLE, "overwrite", ReadOnlyChannelError),
    ({"propagate": PropagateState.UNDER_PROPAGATION}, BOX, WHOLE, "reduce", InvalidStateError),
    ({"exceptions": False}, BOX, WHOLE, "exception", InvalidArgumentError),
    ({"channel_type": ChannelType.IMAGE}, BOX, WHOLE, "update", InvalidArgumentError),
    ({}, BOX, filled(BOX, 1, "<u4"), "overwrite", DataTypeMismatchError),
    ({}, BOX, WHOLE[0], "overwrite", ShapeMismatchError),
    ({}, BOX.shifted((198, 0, 0)), WHOLE, "overwrite", OutOfBoundsError),
])  # fmt: skip
def test_what_cannot_be_painted_is_refused_whole(disk, changes, box, array, discipline, error):
    stores = CountingStores()
    labels = stores.wrap(disk).service()
    with pytest.raises(error):
        labels.paint(channel(**changes), region(DATASET, box), array, Discipline(discipline))
    assert stores.writes == 0


def test_regions_that_hold_no_labels_of_one_time_are_refused(disk):
    labels, near = disk.service(), Region(LEVEL, BOX, (0, 1), neariso=True)
    with pytest.raises(InvalidArgumentError):
        labels.paint(channel(), near, WHOLE, Discipline.OVERWRITE)
    with pytest.raises(InvalidArgumentError):
        labels.read.exceptions_in(channel(), Region(LEVEL, BOX, (0, 2)))


def test_ids_are_never_given_twice_and_never_painted_ones(world):
    target = channel(datatype=DataType.UINT32)
    one, other = world.service(), world.service()
    assert one.ids.reserve(target, 5) == 1
    assert other.ids.reserve(target, 1) == 6
    paint(one, target, BOX, 40, "preserve")
    assert other.ids.reserve(target, 2) == 41
    one.paint_voxels(volume(target), np.zeros((1, 3), int), 50, Discipline.DATAONLY)
    assert other.ids.reserve(target, 1) == 51
    other.ids.claim(target, 60)
    other.ids.claim(target, 20)
    assert one.ids.reserve(target, 1) == 61
    paint(one, target, BOX, 10**6, "reduce")
    assert one.ids.free_ids(target).last == 61
    with pytest.raises(InvalidArgumentError):
        one.ids.reserve(target, 0)
    with pytest.raises(InvalidStateError):
        one.ids.reserve(target, 2**32)
    assert one.ids.reserve(target, 1) == 62


@pytest.mark.parametrize("per_axis", [1, 2, 4])
def test_supercuboids_of_every_size_are_indexed(disk, per_axis):
    labels, target = disk.service(), channel(cuboids_per_axis=per_axis)
    box = CUBES.pyramid.level(0).box
    random = np.random.default_rng(per_axis)
    values = random.integers(0, 4, (1, *box.shape_zyx)).astype("<u8")
    values[:, :70] = 0
    labels.paint(target, region(CUBES, box), values, Discipline.OVERWRITE)
    assert disk.indexed(target) == disk.truth(CUBES, target)
    assert not missing(disk.truth(CUBES, target), disk.indexed(target))
    whole = LabelVolume(target, CUBES.pyramid.level(0), 0)
    for label in (1, 2, 3):
        np.testing.assert_array_equal(drawn(labels, whole, [label]), values[0] == label)
