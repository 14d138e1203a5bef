"""Builders that are late, doubled or dead: what is stored never goes back to an older state."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from shutil import copytree

import numpy as np
import pytest

from ndlambda import errors
from ndlambda.cuboids import supercuboid
from ndlambda.model.catalog import Channel, CodecSpec, Dataset
from ndlambda.model.discipline import Discipline
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.painter import LabelPainter
from ndlambda.services.propagation.builder import Built, PyramidBuilder, PyramidNode
from ndlambda.services.volume.occupancy import stored_codes
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.region import Region, layout_of, object_key
from ndlambda.space.ancestry import CodeRange
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Scaling
from ndlambda.stores.ports import Overwrite
from ndlambda.voxels.downsample import Method
from tests.support.faults import Crash, FaultPlan, Faulty, Wrapped
from tests.support.label_world import LabelWorld, disk_stores, missing
from tests.support.pyramids import build_all, expected_levels, region_of

DATASET = Dataset("iso", (192, 64, 64), scaling=Scaling.ISOTROPIC, scalinglevels=2)
IMAGE = Channel(
    "p", "c", ChannelType.IMAGE, DataType.UINT8, uid="i1", propagate=2, cuboids_per_axis=1,
    codec=CodecSpec("lz4", 1),
)  # fmt: skip
LABELS = replace(IMAGE, channel_type=ChannelType.ANNOTATION, datatype=DataType.UINT32, uid="l1")
TREE = PyramidNode(2, 0, 0)
"""Two levels above three leaves side by side; the third one has another parent."""
NEARBY, ELSEWHERE = Box((0, 0, 0), (40, 30, 20)), Box((130, 10, 10), (190, 60, 60))

on_both = pytest.mark.parametrize("channel", [IMAGE, LABELS], ids=["image", "labels"])


@pytest.fixture(scope="module")
def pools():
    """One thread each, so that the steps come in one order."""
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        yield first, second


@pytest.fixture
def world(tmp_path, pools):
    return LabelWorld(*disk_stores(tmp_path), *pools)


def copies(folder, pools, prepare):
    """Iterate over worlds that hold what is prepared in one."""
    prepare(LabelWorld(*disk_stores(folder / "prepared"), *pools))
    for number in count(1):
        copytree(folder / "prepared", folder / f"{number}")
        yield LabelWorld(*disk_stores(folder / f"{number}"), *pools)


def painter_of(world, objects=None, table=None, options=None):
    index = LabelIndex(table or world.table)
    return LabelPainter(objects or world.objects, index, world.executor, options or VolumeOptions())


def builder_of(world, plan=None, objects=None, **options):
    objects, table = objects or world.objects, world.table
    if plan is not None:
        objects, table = Faulty(objects, plan), Faulty(table, plan)
    chosen = VolumeOptions(**options)
    return PyramidBuilder(objects, painter_of(world, objects, table, chosen), chosen)


def build(world, channel=IMAGE, root=TREE, **how):
    method = Method.LABELS if channel.is_annotation else Method.MEAN
    return builder_of(world, **how).build(DATASET, channel, root, 2, method)


def put_voxels(world, channel, box, value, resolution=0):
    opened = replace(channel, propagate=0)
    part = Region(DATASET.pyramid.level(resolution), box, (0, 1))
    values = np.full((1, *box.shape_zyx), value, channel.dtype)
    if channel.is_annotation:
        world.service().paint(opened, part, values, Discipline.OVERWRITE)
    else:
        world.service()._volume.write(opened, part, values)


def erase(world, channel, code):
    """Leave an empty supercuboid of level 0, as erasing its last voxel does."""
    level = DATASET.pyramid.level(0)
    if channel.is_annotation:
        volume = LabelVolume(channel, level, 0)
        painter_of(world).edit(volume, code, lambda block: block.replaced({}))
    else:
        layout = layout_of(channel, level)
        empty = supercuboid.splice(None, layout, {}, VolumeOptions().new_write_id())
        world.objects.put(key_of(channel, 0, code), empty, Overwrite())


def key_of(channel, resolution, code):
    return object_key(channel, region_of(DATASET, resolution), 0, code)


def read(world, channel, region, dataset=DATASET):
    return world.service()._volume.read(dataset, channel, region)[0]


def check_index(world, channel):
    if channel.is_annotation:
        assert missing(world.truth(DATASET, channel), world.indexed(channel)) == {}


def check_levels(world, channel):
    method = Method.LABELS if channel.is_annotation else Method.MEAN
    base = read(world, channel, region_of(DATASET, 0))
    for region, wanted in expected_levels(DATASET, channel, base, method):
        np.testing.assert_array_equal(read(world, channel, region), wanted, f"{region}")
    check_index(world, channel)


class Overtaken(FaultPlan):
    """A process that is overtaken before its ``at``-th operation and dies ``lasts`` later."""

    def __init__(self, at, lasts, meanwhile):
        super().__init__(fail_at=at + lasts, when="before")
        self._at = at
        self._meanwhile = meanwhile
        self._turn = threading.Lock()
        self.was_overtaken = False

    def carry_out(self, name, operation):
        with self._turn:
            overtaken = len(self.log) + 1 == self._at
        if overtaken:
            self.was_overtaken = True
            self._meanwhile()
        return super().carry_out(name, operation)


def built_and_changed(world, channel):
    build(world, channel)
    put_voxels(world, channel, NEARBY, 9)


OVERTAKINGS = {
    # What was done before the build, and what is done before the one that overtakes it.
    "first build, new leaf": (lambda *of: None, lambda *of: put_voxels(*of, ELSEWHERE, 9)),
    "first build, all erased": (lambda *of: None, lambda *of: erase(*of, 0)),
    "built, old leaf": (build, lambda *of: put_voxels(*of, NEARBY, 9)),
    "built, new leaf": (build, lambda *of: put_voxels(*of, ELSEWHERE, 9)),
    "built, change undone": (built_and_changed, lambda *of: put_voxels(*of, NEARBY, 5)),
}


@pytest.mark.parametrize("case", OVERTAKINGS)
@on_both
def test_an_overtaken_builder_never_undoes_a_newer_build(tmp_path, pools, channel, case):
    """Whenever it is overtaken, and wherever it dies afterwards.

    Seen to fail on images when objects are put unconditionally; when sources are listed once for
    the whole tree, or before the ETag of what they make is got; when nothing is put where the
    voxels are those that are there; and when nothing is put where stored sources give zero.
    """
    before, change = OVERTAKINGS[case]

    def prepare(world):
        put_voxels(world, channel, Box((0, 0, 0), (64, 64, 64)), 5)
        before(world, channel)

    def meanwhile(world):
        change(world, channel)
        build(world, channel)

    worlds = copies(tmp_path, pools, prepare)
    alone = next(worlds)
    meanwhile(alone)
    check_levels(alone, channel)
    wanted = [read(alone, channel, region_of(DATASET, resolution)) for resolution in (1, 2)]
    for at in count(1):
        # Labels cost more: every other time they die soon, every other time they do not.
        for lasts in ((3, 100)[at % 2],) if channel.is_annotation else (3, 100):
            world = next(worlds)
            plan = Overtaken(at, lasts, partial(meanwhile, world))
            with suppress(Crash):
                build(world, channel, plan=plan, pause=lambda s: None)
            if not plan.was_overtaken:
                assert at > 8
                return
            for resolution, level in enumerate(wanted, 1):
                found = read(world, channel, region_of(DATASET, resolution))
                np.testing.assert_array_equal(found, level, err_msg=f"{at}, {lasts}: {plan.log}")
            check_index(world, channel)


@on_both
def test_a_builder_that_dies_anywhere_is_mended_by_another(tmp_path, pools, channel):
    box = Box((20, 20, 20), (190, 60, 60))
    worlds = copies(tmp_path, pools, lambda world: put_voxels(world, channel, box, 5))
    for fail_at, world in enumerate(worlds, 1):
        plan = FaultPlan(fail_at)
        with suppress(Crash):
            build(world, channel, plan=plan)
        check_index(world, channel)
        if not plan.fired:
            check_levels(world, channel)
            return
        if fail_at % 5 == 0:
            build(world, channel)
            check_levels(world, channel)


def test_each_source_is_read_once_and_each_result_written_once(world):
    assert build(world) == Built()
    assert list(world.objects.list("")) == [], "where there is nothing, nothing is stored"
    put_voxels(world, IMAGE, Box((0, 0, 0), (192, 64, 64)), 3)
    assert build(world) == Built(objects_read=3, objects_written=2 + 1, voxels_read=192 * 64 * 64)


def test_empty_regions_cost_one_request_for_each_source_of_a_parent_that_is_there(world):
    put_voxels(world, IMAGE, NEARBY, 3)
    plan = FaultPlan(None)
    built = build(world, plan=plan)
    assert built == Built(objects_read=1, objects_written=2, voxels_read=64**3)
    assert plan.log.count("DiskObjectStore.get") == 2 + 8  # ETags, leaves of one parent
    assert plan.log.count("DiskObjectStore.put") == 2


@on_both
def test_what_is_there_without_sources_becomes_zero(world, channel):
    put_voxels(world, channel, Box((3, 3, 3), (9, 9, 9)), 7, resolution=1)
    build(world, channel)
    assert not read(world, channel, region_of(DATASET, 1)).any()
    assert world.objects.get(key_of(channel, 1, 0)) is not None  # an empty one
    assert world.indexed(channel) == {}


def test_extra_labels_are_not_propagated_and_leave_the_index(world):
    """Exceptions belong to the level that they were painted on."""
    channel = replace(LABELS, exceptions=True)
    put_voxels(world, channel, NEARBY, 5)
    box = Box((2, 2, 2), (8, 8, 8))
    for resolution in (0, 1):
        put_voxels(world, channel, box, 5, resolution)
        part = Region(DATASET.pyramid.level(resolution), box, (0, 1))
        extra = np.full(part.shape_tzyx, 6, "<u4")
        world.service().paint(replace(channel, propagate=0), part, extra, Discipline.EXCEPTION)
    build(world, channel)
    assert {key[1] for key in world.indexed(channel) if key[0].resolution == 0} == {5, 6}
    assert {key[1] for key in world.indexed(channel) if key[0].resolution > 0} == {5}
    assert world.truth(DATASET, channel) == world.indexed(channel)


def test_labels_outside_the_volume_are_propagated_with_the_others(world):
    """They are not clipped when they are painted voxel by voxel, and so they are not here."""
    narrow = Dataset("narrow", (10, 10, 10), scaling=Scaling.ISOTROPIC, scalinglevels=2)
    volume = LabelVolume(replace(LABELS, propagate=0), narrow.pyramid.level(0), 0)
    full = {0: np.full((64, 64, 64), 3, "<u4")}
    painter_of(world).edit(volume, 7, lambda block: block.replaced(full))
    builder_of(world).build(narrow, LABELS, TREE, 2, Method.LABELS)
    levels = {key[0].resolution: codes for key, codes in world.indexed(LABELS).items()}
    assert levels == {0: {7}, 1: {0}, 2: {0}}


def test_a_put_whose_answer_was_lost_is_known_again(world):
    put_voxels(world, IMAGE, NEARBY, 3)
    lost = []

    def put(put, *args):
        lost.append(put(*args))
        raise errors.PreconditionFailedError("The client library sent it twice.")

    build(world, objects=Wrapped(world.objects, put=put), pause=lambda s: None)
    assert len(lost) == 2
    check_levels(world, IMAGE)


def test_a_builder_gives_up_against_others_that_never_stop(world):
    put_voxels(world, IMAGE, NEARBY, 3)
    clock = count()

    def put(put, *args):
        raise errors.PreconditionFailedError("Somebody was faster.")

    how = {"clock": lambda: float(next(clock)), "pause": lambda s: None, "contention_s": 20}
    with pytest.raises(errors.WriteContentionError):
        build(world, objects=Wrapped(world.objects, put=put), **how)


def test_a_damaged_source_is_an_error_and_a_damaged_image_result_is_mended(world):
    put_voxels(world, IMAGE, Box((0, 0, 0), (128, 64, 64)), 3)
    build(world)
    for resolution in (0, 1):
        key = key_of(IMAGE, resolution, 0)
        whole = bytes(world.objects.get(key).data)
        world.objects.put(key, whole[:30] + bytes([whole[30] ^ 1]) + whole[31:], Overwrite())
        if resolution == 0:
            with pytest.raises(errors.CuboidDecodeError):
                build(world)
            world.objects.put(key, whole, Overwrite())
    build(world)
    check_levels(world, IMAGE)


def test_time_points_are_trees_of_their_own(world):
    put_voxels(world, IMAGE, NEARBY, 3)
    assert build(world, root=replace(TREE, time_point=1)) == Built()
    build(world)
    assert not read(world, IMAGE, region_of(DATASET, 1, 1)).any()
    assert read(world, IMAGE, region_of(DATASET, 1, 0)).any()


def test_near_isotropic_labels_are_voxels_without_an_index(world):
    slices = Dataset("s", (200, 100, 9), voxelres_xyz=(1, 1, 0.6), scalinglevels=2)
    region = region_of(slices, 0)
    values = np.random.default_rng(0).integers(0, 3, region.shape_tzyx).astype("<u4")
    world.service().paint(replace(LABELS, propagate=0), region, values, Discipline.OVERWRITE)
    build_all(builder_of(world), world.objects, slices, LABELS, Method.LABELS)
    levels = list(expected_levels(slices, LABELS, values[0], Method.LABELS))
    assert [level.neariso for level, _ in levels] == [True, False, True, False]
    for level, wanted in levels:
        np.testing.assert_array_equal(read(world, LABELS, level, slices), wanted)
    assert world.truth(slices, LABELS) == world.indexed(LABELS)


@pytest.mark.parametrize(
    ("channel", "root", "depth", "method", "error"),
    [
        (IMAGE, TREE, 3, Method.MEAN, errors.InvalidArgumentError),
        (IMAGE, TREE, 0, Method.MEAN, errors.InvalidArgumentError),
        (replace(IMAGE, resolution=1), TREE, 2, Method.MEAN, errors.InvalidArgumentError),
        (IMAGE, replace(TREE, neariso=True), 1, Method.MEAN, errors.InvalidArgumentError),
        (IMAGE, TREE, 2, Method.LABELS, errors.InvalidArgumentError),
        (LABELS, TREE, 2, Method.MEAN, errors.InvalidArgumentError),
        (IMAGE, replace(TREE, resolution=3), 1, Method.MEAN, errors.ResolutionNotFoundError),
    ],
)
def test_what_cannot_be_built_is_refused(world, channel, root, depth, method, error):
    with pytest.raises(error):
        builder_of(world).build(DATASET, channel, root, depth, method)


def test_a_listing_of_a_range_gives_what_is_stored_in_it(world):
    codes = [0, 1, 7, 8, 15, 16, 255, 256, 300]
    for code in codes:
        world.objects.put(key_of(IMAGE, 0, code), b"x", Overwrite())
    world.objects.put(key_of(IMAGE, 1, 9), b"x", Overwrite())
    region = region_of(DATASET, 0)
    assert list(stored_codes(world.objects, IMAGE, region, 0)) == codes
    for first, last in [(0, 0), (0, 7), (1, 6), (8, 15), (9, 300), (0, 1 << 62), (300, 301)]:
        found = list(stored_codes(world.objects, IMAGE, region, 0, CodeRange(first, last)))
        assert found == [code for code in codes if first <= code <= last], (first, last)
