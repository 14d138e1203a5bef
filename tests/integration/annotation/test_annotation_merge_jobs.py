"""Merges that are too large for a request: the objects at once, the voxels by the worker."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from ndlambda.errors import NotFoundError
from ndlambda.model.catalog import Channel
from ndlambda.model.propagation import PropagateState
from ndlambda.model.ramon import Annotation, Segment, Synapse
from ndlambda.services.annotation import erasing
from ndlambda.services.annotation.options import WriteMode
from ndlambda.services.ramon.rows import ObjectRows, Tombstone
from ndlambda.space.box import Box
from ndlambda.wire.ramon.contract import RamonItem
from tests.support.annotation_world import DATASET, AnnotationWorld, block, disk_world, points
from tests.support.faults import Crash, Interrupted, at_every_step, copies_of
from tests.support.label_world import LabelWorld, missing

NEW = WriteMode()
LARGE = Box((0, 0, 26), (30, 30, 36))
"""In two supercuboids."""
SMALL = Box((0, 60, 0), (9, 90, 9))


@pytest.fixture(scope="module")
def pools():
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        yield first, second


@pytest.fixture(autouse=True)
def one_supercuboid_is_small(monkeypatch):
    monkeypatch.setattr(erasing, "LARGE_SUPERCUBOIDS", 1)


@pytest.fixture
def world(tmp_path, pools):
    made = disk_world(tmp_path, pools)
    made.populate()
    return made


def filled(world: AnnotationWorld) -> Channel:
    """Return a channel with a large object 5 and a small one 6, which others refer to, and 7."""
    channel = world.channel()
    items = [
        block(Segment(5), LARGE),
        block(Segment(6), SMALL),
        points(Segment(7), [[0, 120, 0]]),
        RamonItem(Synapse(8, segments=(5, 6))),
    ]
    world.own.writer.upload(DATASET, channel, items, NEW)
    coarse = [block(Annotation(5), Box((0, 0, 0), (9, 9, 9)), 1)]
    world.own.writer.upload(DATASET, channel, coarse, WriteMode(data_only=True))
    return channel


def merge(world: AnnotationWorld, channel: Channel, *ids: int, **limits: Any) -> list[int]:
    return world.own.annotations.merge(DATASET, channel, list(ids), **limits)


def counts(world: AnnotationWorld, channel: Channel, resolution: int = 0) -> dict[int, int]:
    labels, found = np.unique(world.image(channel, resolution), return_counts=True)
    return {n: c for n, c in zip(labels.tolist(), found.tolist(), strict=True) if n}


@pytest.fixture
def opened(tmp_path, pools):
    """What opens a copy of a world with a channel that is ``filled``."""
    prepared = disk_world(tmp_path / "prepared", pools)
    prepared.populate()
    filled(prepared)
    prepared.close()
    return copies_of(tmp_path / "prepared", lambda folder: disk_world(folder, pools))


BOTH = LARGE.voxels + SMALL.voxels
AFTER = {"merged": {7: BOTH + 1}, "deleted": {7: 1}}
"""What is left when the survivor of a merge was merged into 7, or deleted."""
FATES = pytest.mark.parametrize("fate", AFTER)


def let_go(world: AnnotationWorld, channel: Channel, fate: str) -> None:
    if fate == "merged":
        assert merge(world, channel, 7, 6) == []
    else:
        assert world.own.writer.delete(channel, [6]) == []


def test_a_large_merge_is_one_of_objects_at_once_and_of_voxels_by_the_worker(world):
    channel = filled(world)
    assert merge(world, channel, 6, 5) == [5]
    assert [ramon.id for ramon in world.stored(channel)] == [6, 7, 8]
    assert world.own.ramon.get(channel, 8).ramon == Synapse(8, segments=(6,))
    assert counts(world, channel)[5] == LARGE.voxels
    assert merge(world, channel, 6, 5) == [5]  # still at it, still one job
    assert world.jobs == [f"{channel.uid}#5#merge#all"]
    assert world.pump() >= 1
    assert counts(world, channel) == {6: BOTH, 7: 1}
    assert counts(world, channel, 1) == {6: 9 * 9 * 9}
    assert not world.jobs
    assert merge(world, channel, 6, 5) == []


def test_a_merge_at_one_resolution_leaves_the_others(world):
    channel = filled(world)
    assert merge(world, channel, 6, 5, resolution=1) == []  # one supercuboid there
    assert counts(world, channel, 1) == {6: 9 * 9 * 9}
    assert merge(world, channel, 6, 5, resolution=0) == [5]
    assert world.jobs == [f"{channel.uid}#5#merge#0"]
    world.pump()
    assert counts(world, channel) == {6: BOTH, 7: 1}


def test_deleting_what_is_being_merged_erases_nothing_of_the_survivor(world, monkeypatch):
    """Seen to fail without ``is_merging`` in ``ObjectErasure.erase``."""
    channel = filled(world)
    merge(world, channel, 6, 5)
    monkeypatch.setattr(erasing, "LARGE_SUPERCUBOIDS", 64)
    assert world.own.writer.delete(channel, [5]) == [5]
    world.let_all_work_end()
    assert counts(world, channel) == {6: BOTH, 7: 1}
    assert world.own.writer.delete(channel, [5]) == []


@FATES
def test_voxels_follow_a_survivor_that_was_merged_or_deleted_meanwhile(world, fate):
    channel = filled(world)
    assert merge(world, channel, 6, 5) == [5]
    let_go(world, channel, fate)
    world.let_all_work_end()
    assert counts(world, channel) == AFTER[fate]


@FATES
def test_voxels_follow_a_survivor_whose_fate_changes_at_any_step_of_the_worker(
    opened, tmp_path, fate
):
    """Seen to fail without the second look at the heir in ``relabel``."""
    for world, plan in at_every_step(opened, Interrupted, least=11):
        channel = world.own.catalog.get_channel("pr", "labels")
        assert merge(world, channel, 6, 5) == [5]
        [job] = world.jobs
        with ThreadPoolExecutor(1) as own, ThreadPoolExecutor(1) as own_rows:
            other = disk_world(tmp_path / f"step{plan.at}", (own, own_rows))

            def change(other=other, channel=channel):
                if fate == "merged":
                    merge(other, channel, 7, 6)
                else:
                    other.own.writer.delete(channel, [6])

            plan.interruption = change
            world.process(plan).erasure.run(job)
            world.let_all_work_end()
            if plan.fired:
                assert counts(world, channel) == AFTER[fate], plan.log
            other.close()


@FATES
def test_voxels_that_a_dead_worker_gave_to_a_survivor_that_was_gone_follow_it(
    world, monkeypatch, fate
):
    """The survivor goes while the worker is at it, and the worker dies before it looks again. Seen
    to fail where a repetition looks for the loser's own label only."""
    channel = filled(world)
    assert merge(world, channel, 6, 5) == [5]
    [job] = world.jobs
    process = world.process()
    relabel = process.labels.merge_labels

    def die(*args: Any) -> None:
        let_go(world, channel, fate)
        relabel(*args)
        raise Crash

    monkeypatch.setattr(process.labels, "merge_labels", die)
    with pytest.raises(Crash):
        process.erasure.run(job)
    world.let_all_work_end()
    assert counts(world, channel) == AFTER[fate]


def test_a_merge_that_nobody_repeats_is_completed_by_the_worker(opened):
    """Both objects are as they were, or one has all voxels, all references, and no job is left.
    Seen to fail with the job stored behind the transaction that retires the object."""
    for world, plan in at_every_step(opened, least=21):
        channel = world.own.catalog.get_channel("pr", "labels")
        with suppress(Crash):
            process = world.process(plan)
            process.annotations.merge(DATASET, channel, [7, 6, 5])
            world.pump(process)
        look = LabelWorld(world.objects, world.table, *world.pools)
        assert not missing(look.truth(DATASET, channel), look.indexed(channel)), plan.log
        world.let_all_work_end()
        assert not world.jobs, plan.log
        states = ObjectRows(world.table).find_many(channel.uid, [5, 6])
        gone = {number for number, state in states.items() if state == Tombstone(merged_into=7)}
        found, sizes = counts(world, channel), {5: LARGE.voxels, 6: SMALL.voxels}
        assert set(found) - {7} == {5, 6} - gone, plan.log
        assert found[7] == 1 + sum(sizes[number] for number in gone), plan.log
        if gone == {5, 6}:
            assert world.own.ramon.get(channel, 8).ramon == Synapse(8, segments=(7,)), plan.log


def test_what_refers_to_a_loser_when_the_worker_ends_refers_to_the_survivor(world):
    """As where a request died before it looked for references again. Seen to fail without
    ``RamonMerge.complete``."""
    channel = filled(world)
    assert merge(world, channel, 6, 5) == [5]
    late = RamonItem(Synapse(9, segments=(5,)))
    assert world.own.writer.upload(DATASET, channel, [late], NEW) == [9]
    world.pump()
    assert world.own.ramon.get(channel, 9).ramon == Synapse(9, segments=(6,))


@pytest.mark.parametrize(
    "change", [{"propagate": PropagateState.UNDER_PROPAGATION}, {"readonly": True}]
)
def test_the_worker_waits_until_the_channel_takes_writes(world, change):
    channel = filled(world)
    merge(world, channel, 6, 5)
    world.own.catalog.update_channel("pr", "labels", **change)
    world.pump()
    assert world.jobs
    assert counts(world, channel)[5] == LARGE.voxels
    world.own.catalog.update_channel("pr", "labels", propagate=0, readonly=False)
    world.clock.advance(60)
    world.pump()
    assert counts(world, channel) == {6: BOTH, 7: 1}
    assert not world.jobs


def test_a_job_ends_with_its_channel(world):
    channel = filled(world)
    merge(world, channel, 6, 5)
    world.own.catalog.delete_channel("pr", "labels")
    world.let_all_work_end()
    assert not world.jobs
    with pytest.raises(NotFoundError):
        world.own.ramon.get(channel, 5)
