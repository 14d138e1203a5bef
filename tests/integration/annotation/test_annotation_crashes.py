"""Uploads and deletions that die at any step: a repetition leaves what one that lived leaves."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from ndlambda.errors import AlreadyExistsError
from ndlambda.model.catalog import Channel
from ndlambda.model.discipline import Discipline
from ndlambda.model.ramon import Annotation, Segment, Synapse
from ndlambda.services.annotation import erasing as object_erasure
from ndlambda.services.annotation.options import WriteMode
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.ramon import many
from ndlambda.services.ramon.rows import ObjectRows, Tombstone
from ndlambda.space.box import Box
from ndlambda.wire.ramon.contract import RamonItem
from tests.support.annotation_world import (
    DATASET,
    AnnotationWorld,
    Process,
    block,
    disk_world,
    points,
)
from tests.support.faults import Crash, FaultPlan, at_every_step, copies_of
from tests.support.label_world import LabelWorld, missing, points_of


@pytest.fixture
def opened(tmp_path, pools):
    """What opens a copy of a world with an object of two supercuboids, 1, and small ones."""
    world = disk_world(tmp_path / "prepared", pools)
    world.populate()
    wide = Box((110, 130, 10), (130, 140, 36))
    items = [block(Segment(1, author="a"), wide), points(Annotation(2), [[0, 0, 0], [1, 0, 0]])]
    items += [points(Annotation(number), [[number, 5, 0]]) for number in MANY]
    world.own.writer.upload(DATASET, world.channel(), items, WriteMode())
    world.close()
    return copies_of(tmp_path / "prepared", lambda folder: disk_world(folder, pools))


def channel_of(world: AnnotationWorld) -> Channel:
    return world.own.catalog.get_channel("pr", "labels")


def labels_of(world: AnnotationWorld) -> set[int]:
    return set(np.unique(world.image(channel_of(world))).tolist()) - {0}


BOX = Box((120, 120, 10), (136, 136, 20))
OVER = Box((130, 130, 12), (140, 140, 14))
"""Both in four cuboids of one supercuboid."""
PAIRS = {f"{number}": "v" for number in range(60)}
"""Two objects with these are stored in two transactions."""
ITEMS = (
    block(Segment(5, kvpairs=PAIRS), BOX),
    block(Synapse(7, segments=(5,), kvpairs=PAIRS), OVER),
    points(Annotation(9), [[0, 0, 0], [150, 100, 5]]),
    RamonItem(Synapse(11, segments=tuple(range(100, 230)))),
)
"""The last is stored in several steps of its own."""
MANY = (20, 21, 22)
"""With 2, changed in two transactions."""
LABELS = (1, 2, 5, 7, 9, 11, *MANY, 99)
Act = Callable[[AnnotationWorld, Process, Channel], None]


def upload(mode: WriteMode) -> Act:
    def act(world: AnnotationWorld, process: Process, channel: Channel) -> None:
        try:
            process.writer.upload(DATASET, channel, ITEMS, mode)
        except AlreadyExistsError:
            # Nothing was left to be completed: its dead predecessor had come to the end.
            assert world.own.ramon.get_many(channel, [item.ramon.id for item in ITEMS])

    return act


def update(world: AnnotationWorld, process: Process, channel: Channel) -> None:
    items = [block(Segment(1, kvpairs=PAIRS), OVER), points(Annotation(2), [[9, 9, 9]])]
    items += [RamonItem(Annotation(number, author="b")) for number in MANY]
    process.writer.upload(DATASET, channel, items, WriteMode(update=True))


def delete(world: AnnotationWorld, process: Process, channel: Channel) -> None:
    process.writer.delete(channel, [1, 2, *MANY, 99])
    world.pump(process)


CASES = {
    "create": upload(WriteMode()),
    "create beside": upload(WriteMode(Discipline.EXCEPTION)),
    "update": update,
    "delete": delete,
}


@pytest.fixture(scope="module")
def pools():
    """One thread each, so that the steps come in one order."""
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        yield first, second


@pytest.fixture(autouse=True)
def one_supercuboid_is_small(monkeypatch):
    monkeypatch.setattr(object_erasure, "LARGE_SUPERCUBOIDS", 1)
    monkeypatch.setattr(many, "_MAX_TOGETHER", 2)


def seen(world: AnnotationWorld, channel: Channel) -> tuple[Any, ...]:
    """Return everything that anybody sees, and the jobs that are left."""
    volume = LabelVolume(channel, DATASET.pyramid.level(0), 0)
    voxels = {n: sorted(points_of(world.own.labels, volume, n).tolist()) for n in LABELS}
    states = ObjectRows(world.table).find_many(channel.uid, LABELS)
    return world.stored(channel), states, voxels, world.image(channel).tobytes(), world.jobs


@pytest.mark.parametrize("name", CASES)
def test_what_died_anywhere_and_is_repeated_is_done_once(opened, name):
    """Each write to a store is the last of its process once. Seen to fail with objects stored in
    front of their voxels; with a body that was stored in part refused; and without
    ``find_settled``, where the storing of a long object had begun."""
    undisturbed, act = opened("undisturbed"), CASES[name]
    channel = channel_of(undisturbed)
    act(undisturbed, undisturbed.own, channel)
    undisturbed.let_all_work_end()
    expected = seen(undisturbed, channel)
    for world, plan in at_every_step(opened):
        with suppress(Crash):
            act(world, world.process(plan), channel)
        check_invariants(world, channel, plan)
        act(world, world.own, channel)
        world.let_all_work_end()
        assert seen(world, channel) == expected, plan.log


def check_invariants(world: AnnotationWorld, channel: Channel, plan: FaultPlan) -> None:
    """Check what holds at any time, without repeating anything."""
    labels = LabelWorld(world.objects, world.table, *world.pools)
    truth = labels.truth(DATASET, channel)
    assert not missing(truth, labels.indexed(channel)), plan.log
    last = world.own.labels.ids.free_ids(channel).last
    objects = world.stored(channel)
    assert last >= max((label for _, label in truth), default=0), plan.log
    assert last >= max((ramon.id for ramon in objects), default=0), plan.log
    painted = {label for _, label in truth}
    new = {ramon.id for ramon in objects} & {item.ramon.id for item in ITEMS if item.data}
    assert new <= painted, plan.log  # a reader that finds a new object finds its voxels


def test_a_worker_that_dies_anywhere_is_followed_by_one_that_ends_the_job(opened):
    """Seen to fail with the job ended in front of the erasure."""
    for world, plan in at_every_step(opened, least=6):
        channel = channel_of(world)
        assert world.own.writer.delete(channel, [1]) == [1]
        with suppress(Crash):
            world.process(plan).erasure.run(f"{channel.uid}#1")
        world.let_all_work_end()
        assert labels_of(world) == {2, *MANY}, plan.log
        states = ObjectRows(world.table).find_many(channel.uid, [1])
        assert states == {1: Tombstone()}, plan.log
        assert not world.jobs, plan.log


def test_every_label_has_an_object_after_new_objects_were_uploaded_again(opened):
    """The repetition is given other ids, and paints over those of the one that died."""
    items = [block(Segment(author="a"), BOX), points(Annotation(), [[5, 5, 5]])]
    for world, plan in at_every_step(opened, least=6):
        channel = channel_of(world)
        with suppress(Crash):
            world.process(plan).writer.upload(DATASET, channel, items, WriteMode())
        segment, spot = world.own.writer.upload(DATASET, channel, items, WriteMode())
        image = world.image(channel)
        assert (image == segment).sum() == BOX.voxels
        assert image[5, 5, 5] == spot
        assert labels_of(world) <= {ramon.id for ramon in world.stored(channel)}, plan.log


def test_a_deletion_that_nobody_repeats_is_completed_by_the_worker(opened):
    """An object is either as it was, or gone with all of its voxels, and no job is left. Seen to
    fail with the job stored behind the transaction that deletes the object."""
    before = {1: Segment(1, author="a"), **{n: Annotation(n) for n in (2, *MANY)}}
    for world, plan in at_every_step(opened, least=7):
        channel = channel_of(world)
        with suppress(Crash):
            world.process(plan).writer.delete(channel, list(before))
        world.let_all_work_end()
        assert not world.jobs, plan.log
        states = ObjectRows(world.table).find_many(channel.uid, list(before))
        kept = {n for n, state in states.items() if state == before[n]}
        gone = {n for n, state in states.items() if state == Tombstone()}
        assert kept | gone == before.keys(), plan.log
        assert labels_of(world) == kept, plan.log
        assert plan.fired or not kept
