"""Objects merged with their voxels: everywhere, at one resolution, in a box, and after crashes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest

from ndlambda.cuboids.label_block import LabelBlock
from ndlambda.errors import InvalidArgumentError, NotFoundError, PayloadTooLargeError
from ndlambda.model.discipline import Discipline
from ndlambda.model.ramon import Neuron, Seed, Segment, Synapse, parse_query
from ndlambda.services.annotation.options import Voxels
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.ramon.rows import ObjectRows, Tombstone
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.space.box import Box
from tests.support.faults import Crash, at_every_step, copies_of
from tests.support.label_world import (
    DATASET,
    channel,
    filled,
    missing,
    own_labels,
    points_of,
    region,
)
from tests.support.object_world import Model, ObjectWorld, Process, disk_world
from tests.support.stored_objects import store

CHANNEL = channel(endtime=2)
BOX = Box((116, 60, 10), (132, 64, 20))
"""In four cuboids of one supercuboid."""
NEXT, OVER = BOX.shifted((16, 0, 0)), BOX.shifted((8, 2, 4))
FAR = Box((0, 140, 33), (9, 150, 40))
"""In another supercuboid."""
ALL = parse_query([])


@pytest.fixture
def world(tmp_path, pools):
    return disk_world(tmp_path, pools)


def populate(process: Process) -> list[Model]:
    """Paint three objects side by side and over one another, at two times and resolutions."""
    models = [Model(DATASET, CHANNEL, time_point=time_point) for time_point in (0, 1)]
    for time_point, model in enumerate(models):
        for resolution in (0, 1):
            for label, box in ((1, BOX), (2, NEXT), (3, FAR)):
                ends = (box.start_xyz, box.stop_xyz)
                there = Box(*(tuple(n >> resolution for n in end) for end in ends))
                model.paint(process.labels, resolution, there.shifted((time_point, 0, 0)), label)
        model.add(process.labels, 0, OVER, 2)
        model.add(process.labels, 0, NEXT, 1)
        model.add(process.labels, 0, FAR, 4)
    store(
        process,
        CHANNEL,
        Segment(1, author="survivor"),
        Segment(2, neuron=6),
        Segment(3),
        Segment(4, parentseed=2),
        Synapse(5, segments=(1, 2, 3)),
        Neuron(6),
    )
    return models


def check_voxels(world: ObjectWorld, models: list[Model]) -> None:
    """Compare all labels, own and extra, with the models, and the index with the truth."""
    labels = world.service()
    for time_point, model in enumerate(models):
        for level in DATASET.pyramid.all_levels():
            volume, resolution = LabelVolume(CHANNEL, level, time_point), level.resolution
            whole = region(DATASET, level.box, time_point, resolution)
            own, extra = model.own[resolution], model.extra[resolution]
            found = own_labels(world.objects, world.executor, DATASET, CHANNEL, whole)
            np.testing.assert_array_equal(found, own)
            for label in range(1, 7):
                points = points_of(labels, volume, label)[:, ::-1]
                expected = np.argwhere(model.mask(resolution, [label]))
                np.testing.assert_array_equal(
                    np.unique(points, axis=0), np.unique(expected, axis=0)
                )
            listed = labels.read.exceptions_in(CHANNEL, whole)
            pairs = sum(int(mask.sum()) for mask in extra.values())
            assert np.count_nonzero(listed.labels[:, 1:]) == pairs
    assert world.indexed(CHANNEL) == world.truth(DATASET, CHANNEL)


def everywhere(models: list[Model], survivor: int, losers: list[int]) -> None:
    for model in models:
        for level in DATASET.pyramid.all_levels():
            model.relabel(level.resolution, survivor, losers, level.box)


def objects(process: Process) -> list[Any]:
    return process.ramon.get_many(CHANNEL, process.ramon.query(CHANNEL, ALL))


def test_losers_go_into_the_survivor_everywhere(world):
    process = world.process()
    models = populate(process)
    check_voxels(world, models)
    for _ in range(2):  # done again, it does nothing
        assert process.merger.merge(DATASET, CHANNEL, [1, 2, 3, 2]) == []
        everywhere(models, 1, [2, 3])
        check_voxels(world, models)
        assert objects(process) == [
            Segment(1, author="survivor"),
            Segment(4, parentseed=1),
            Synapse(5, segments=(1,)),
            Neuron(6),
        ]
        states = ObjectRows(world.table).find_many(CHANNEL.uid, [2, 3])
        assert states == dict.fromkeys((2, 3), Tombstone(merged_into=1))
        rows = [row for n in range(16) for row in world.table.query(f"label#u1#{n:02x}").rows]
        assert {int(row.sk[:16], 16) for row in rows} == {1, 4}
    with pytest.raises(NotFoundError):
        process.reader.read(DATASET, CHANNEL, [2], Voxels(0))


def test_in_a_region_voxels_change_and_objects_stay(world):
    """Inside the box, at its resolution and time; extra labels, too."""
    process = world.process()
    models, before = populate(process), objects(process)
    here = Box((121, 61, 12), (145, 66, 17))
    for _ in range(2):
        merged = process.merger.merge(
            DATASET, CHANNEL, [1, 2, 3], region=region(DATASET, here, time_point=1)
        )
        assert merged == []
        models[1].relabel(0, 1, [2, 3], here)
        check_voxels(world, models)
    assert objects(process) == before


def test_a_region_with_more_supercuboids_than_a_call_changes_is_refused(world):
    models = populate(world.process())
    process = world.process(options=VolumeOptions(paint_supercuboids=1))
    whole = region(DATASET, DATASET.pyramid.level(0).box)
    with pytest.raises(PayloadTooLargeError):
        process.merger.merge(DATASET, CHANNEL, [1, 2, 3], region=whole)
    check_voxels(world, models)


def test_seeds_and_neurons_merge_only_with_their_like(world):
    """Seen to fail without ``check_types``: a neuron's label was painted, or a neuron lost."""
    process = world.process()
    models = populate(process)
    store(process, CHANNEL, Neuron(7), Seed(8), Seed(9))
    before = objects(process)
    for ids in ([6, 1], [1, 6], [8, 1], [1, 2, 8], [6, 8]):
        for limits in ({}, {"region": region(DATASET, BOX)}):
            with pytest.raises(InvalidArgumentError, match="voxels of its own"):
                process.merger.merge(DATASET, CHANNEL, ids, **limits)
    check_voxels(world, models)
    assert objects(process) == before
    assert process.merger.merge(DATASET, CHANNEL, [7, 6]) == []
    assert process.merger.merge(DATASET, CHANNEL, [8, 9]) == []
    assert process.ramon.get(CHANNEL, 2).ramon == Segment(2, neuron=7)


def test_what_is_no_merge_leaves_all_as_it_is(world):
    process = world.process()
    models, before = populate(process), objects(process)
    here = region(DATASET, BOX)
    for ids, limits in (
        ([1], {}),
        ([], {}),
        ([1, 2], {"resolution": 0, "region": here}),
        ([1, 2], {"region": replace(here, neariso=True)}),
    ):
        with pytest.raises(InvalidArgumentError):
            process.merger.merge(DATASET, CHANNEL, ids, **limits)
    check_voxels(world, models)
    assert objects(process) == before


STEPS: dict[str, Callable[[Process], object]] = {
    "everywhere": lambda process: process.merger.merge(DATASET, CHANNEL, [1, 2, 3]),
    "region": lambda process: process.merger.merge(
        DATASET, CHANNEL, [1, 2], region=region(DATASET, NEXT)
    ),
}


@pytest.mark.parametrize("what", STEPS)
def test_a_merge_that_dies_anywhere_is_completed_by_its_repetition(tmp_path, what):
    """Each change of a store is the last of its process once. Seen to fail with losers that were
    retired already asked for as living objects (the repetition does not find them), and with step 3
    of ``LabelPainter.edit`` behind step 4 (the index misses the survivor)."""
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:  # steps in one order
        pools = first, second
        prepared = disk_world(tmp_path / "prepared", pools)
        opened = copies_of(tmp_path / "prepared", lambda folder: disk_world(folder, pools))
        models = small(prepared.process())
        prepared.close()
        if what == "everywhere":
            everywhere(models, 1, [2, 3])
        else:
            models[0].relabel(0, 1, [2], NEXT)
        undisturbed = opened("undisturbed")
        STEPS[what](undisturbed.process())
        check_voxels(undisturbed, models)
        expected = stored(undisturbed), objects(undisturbed.process())
        for world, plan in at_every_step(opened, least=3):
            with suppress(Crash):
                STEPS[what](world.process(plan))
            truth = world.truth(DATASET, CHANNEL)
            assert not missing(truth, world.indexed(CHANNEL)), plan.log
            assert STEPS[what](world.process()) == []
            world.service().sweeper.sweep(DATASET, CHANNEL)
            assert (stored(world), objects(world.process())) == expected
            assert world.indexed(CHANNEL) == undisturbed.indexed(CHANNEL)


def others_paint(world: ObjectWorld, box: Box, time_point: int = 0) -> None:
    """Paint a box with 2 in another process."""
    with ThreadPoolExecutor(1) as own, ThreadPoolExecutor(1) as own_rows:
        labels = ObjectWorld(world.objects, world.table, own, own_rows).service()
        place = region(DATASET, box, time_point)
        labels.paint(CHANNEL, place, filled(box, 2), Discipline.OVERWRITE)


def small(process: Process) -> list[Model]:
    models = [Model(DATASET, CHANNEL, time_point=time_point) for time_point in (0, 1)]
    for label, box in ((1, BOX), (2, NEXT), (3, FAR)):
        models[0].paint(process.labels, 0, box, label)
    models[0].add(process.labels, 0, NEXT, 1)
    models[0].add(process.labels, 0, OVER, 3)
    models[1].paint(process.labels, 1, Box((3, 3, 3), (5, 5, 5)), 2)
    segments = Segment(1), Segment(2, neuron=6), Segment(3)
    store(process, CHANNEL, *segments, Synapse(5, segments=(2, 3)))
    return models


def stored(world: ObjectWorld) -> dict[tuple[str, int], Any]:
    """Return the labels, own and extra, of all cuboids that have any."""
    found = {}
    for time_point, resolution in ((0, 0), (1, 1)):
        volume = LabelVolume(CHANNEL, DATASET.pyramid.level(resolution), time_point)
        for info in world.objects.list(volume.key(0)[:-16]):
            block = LabelBlock(world.objects.get(info.key).data, volume.layout)
            for slot in range(volume.layout.slots):
                cuboid, extra = block.cuboid(slot), block.extra_of(slot)
                if cuboid.any() or len(extra):
                    pairs = extra.at.tobytes(), extra.labels.tobytes()
                    found[info.key, slot] = cuboid.tobytes(), *pairs
    return found


class Interfering:
    """An object store in which somebody else acts at chosen puts, before them."""

    def __init__(self, store: Any, act: Callable[[], object], times: int) -> None:
        self._store = store
        self._act = act
        self._left = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, *args: Any, **kwargs: Any) -> Any:
        if self._left:
            self._left -= 1
            self._act()
        return self._store.put(*args, **kwargs)


@pytest.mark.parametrize("times", [1, 2, 3, 5])
def test_painters_of_a_loser_beside_a_merge_are_merged_too(world, tmp_path, times):
    """In the supercuboid that is being changed, and in one where the loser was not before. Seen to
    fail with ``until_removed`` ended after its first round: a loser has voxels left."""
    small(world.process())
    spots = iter([NEXT.shifted((0, 8, 0)), Box((0, 0, 0), (9, 9, 9)), BOX, FAR, OVER])
    act = Interfering(world.objects, lambda: others_paint(world, next(spots)), times)
    options = VolumeOptions(pause=lambda seconds: None)
    disturbed = replace(world, objects=act)
    disturbed.process(options=options).merger.merge(DATASET, CHANNEL, [1, 2])
    truth = world.truth(DATASET, CHANNEL)
    assert not missing(truth, world.indexed(CHANNEL))
    assert {label for _, label in truth} == {1, 3}
    assert {label for _, label in world.indexed(CHANNEL)} == {1, 3}


def test_who_keeps_painting_a_loser_is_left_to_the_worker(world):
    process = world.process()
    small(process)
    places = count(0, 40)

    def paint() -> None:
        others_paint(world, Box((next(places) % 200, 0, 0), (200, 2, 2)), 1)

    sweep = process.labels.sweeper.sweep
    process.labels.sweeper.sweep = lambda *args: (paint(), sweep(*args))[1]
    assert process.merger.merge(DATASET, CHANNEL, [1, 2]) == [2]
    assert [ramon.id for ramon in objects(process)] == [1, 3, 5]
    [job] = world.table.query("erase").rows
    assert job.sk == "u1#2#merge#all"
    process.labels.sweeper.sweep = sweep
    assert process.merger.merge(DATASET, CHANNEL, [1, 2]) == []
    assert not world.table.query("erase").rows
    assert {label for _, label in world.truth(DATASET, CHANNEL)} == {1, 3}
