"""Propagation from its start to its end: transitions, resumption, what is built anew."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ndlambda.errors import (
    IntegrityError,
    InvalidArgumentError,
    InvalidStateError,
    ReadOnlyChannelError,
    UpstreamThrottledError,
)
from ndlambda.model.catalog import Dataset
from ndlambda.model.discipline import Discipline
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.propagation.worker import MOST_RECEIVES
from ndlambda.space.box import Box
from ndlambda.stores.ports import Overwrite
from ndlambda.voxels.downsample import Method
from tests.support.faults import Crash, FaultPlan
from tests.support.label_world import points_of
from tests.support.propagation_world import (
    CUBES,
    OVERDUE_S,
    SLICES,
    Process,
    PropagationWorld,
    image,
    labels,
    voxels,
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PropagationWorld]:
    made = PropagationWorld(tmp_path, SLICES)
    yield made
    made.close()


@pytest.fixture
def cubes(tmp_path: Path) -> Iterator[PropagationWorld]:
    made = PropagationWorld(tmp_path, CUBES)
    yield made
    made.close()


def filled(world: PropagationWorld, **changes: Any) -> Any:
    """Make an image channel with voxels everywhere."""
    channel = world.base.catalog.create_channel(image(**changes))
    for time_point in range(*channel.times):
        region = world.region(channel.resolution, time_point=time_point)
        world.process().volume.write(channel, region, voxels(region, time_point))
    return channel


def test_every_level_of_every_time_point_is_built(world: PropagationWorld):
    channel = filled(world, starttime=2, endtime=4)
    world.propagate(channel)
    assert world.channel().propagate == 2
    world.assert_levels(channel)
    status = world.process().propagation.status(SLICES, world.channel())
    assert (status.state, status.propagate, status.stale) == ("done", 2, 0)
    assert [band.resolutions for band in status.bands] == [(1, 2), (3,), ()]
    assert status.bands[2].neariso == (3,)
    assert status.done == status.tasks > 0


def test_levels_begin_above_the_channels_own(world: PropagationWorld):
    channel = filled(world, resolution=2)
    world.propagate(channel)
    world.assert_levels(channel)
    stored = world.base.keys()
    assert {key.split("/")[3] for key in stored} == {"2", "3", "3n"}


def test_labels_are_voted_on_and_indexed(cubes: PropagationWorld):
    channel = cubes.base.catalog.create_channel(labels())
    region = cubes.region()
    painted = voxels(region, 1, "<u4", top=4) * (voxels(region, 2, "<u4", top=3) == 1)
    cubes.process().labels.paint(channel, region, painted, Discipline.OVERWRITE)
    process = cubes.propagate(channel)
    assert cubes.channel("labels").propagate == 2
    cubes.assert_levels(channel)
    volume = LabelVolume(channel, CUBES.pyramid.level(2), 0)
    coarse = cubes.stored_level(channel, 2)
    for label in (1, 2, 3):
        found = points_of(process.labels, volume, label)
        assert len(found) == (coarse == label).sum() > 0


def test_a_dataset_without_coarser_levels_is_propagated_at_once(tmp_path: Path):
    flat = PropagationWorld(tmp_path, Dataset("ds", (64, 64, 64)))
    channel = flat.base.catalog.create_channel(image())
    flat.propagate(channel)
    assert flat.channel().propagate == 2
    flat.close()


def test_an_empty_channel_costs_no_task(world: PropagationWorld):
    process = world.propagate(world.base.catalog.create_channel(image()))
    assert world.channel().propagate == 2
    assert process.builder.roots == []


def test_each_source_is_read_in_one_task_of_a_band(world: PropagationWorld):
    process = world.propagate(filled(world))
    roots = process.builder.roots
    assert len(roots) == len(set(roots))
    assert {root.resolution for root in roots} == {2, 3}


# --- transitions -----------------------------------------------------------------------------


def test_only_one_of_many_starts_wins(world: PropagationWorld):
    channel = filled(world)
    world.process().propagation.start(SLICES, channel)
    with pytest.raises(InvalidStateError):
        world.process().propagation.start(SLICES, channel)  # it still believes in state 0
    with pytest.raises(InvalidStateError):
        world.process().propagation.start(SLICES, world.channel())
    world.pump()
    assert world.table.ends == 1


def test_a_readonly_channel_is_not_propagated(world: PropagationWorld):
    channel = world.base.catalog.create_channel(image(readonly=True))
    with pytest.raises(ReadOnlyChannelError):
        world.process().propagation.start(SLICES, channel)


def test_labels_take_no_method(world: PropagationWorld):
    channel = world.base.catalog.create_channel(labels())
    with pytest.raises(InvalidArgumentError):
        world.process().propagation.start(SLICES, channel, method=Method.NEAREST)


def test_a_channel_under_propagation_takes_no_writes(world: PropagationWorld):
    channel = filled(world)
    world.process().propagation.start(SLICES, channel)
    with pytest.raises(InvalidStateError):
        world.process().volume.write(world.channel(), world.region(), voxels(world.region(), 9))


def test_cancelling_frees_the_channel_and_a_new_start_goes_on(world: PropagationWorld):
    channel = filled(world)
    first = world.process()
    first.propagation.start(SLICES, channel)
    world.pump(first, most=3)
    built = first.builder.roots
    assert len(built) == 2
    first.propagation.cancel(world.channel())
    assert world.channel().propagate == 0
    assert first.propagation.status(SLICES, world.channel()).state == "cancelled"
    with pytest.raises(InvalidStateError):
        first.propagation.cancel(world.channel())
    world.pump(first)  # messages that are left do nothing
    assert first.builder.roots == built
    second = world.propagate(world.channel())
    assert world.channel().propagate == 2
    assert not set(second.builder.roots) & set(built)
    world.assert_levels(channel)


def test_what_is_written_between_cancelling_and_going_on_is_built_again(world: PropagationWorld):
    """Seen to fail with ``PropagationMarks.writing`` that marks nothing: level 1 stays old."""
    channel = filled(world)
    first = world.process()
    first.propagation.start(SLICES, channel)
    world.pump(first, most=4)
    first.propagation.cancel(world.channel())
    everything = voxels(world.region(), 77)
    world.process().volume.write(world.channel(), world.region(), everything)
    world.propagate(world.channel())
    world.assert_levels(channel)


def test_a_full_start_forgets_what_a_cancelled_run_did(world: PropagationWorld):
    channel = filled(world)
    first = world.process()
    first.propagation.start(SLICES, channel)
    world.pump(first, most=3)
    first.propagation.cancel(world.channel())
    again = world.propagate(world.channel(), full=True)
    assert set(first.builder.roots) <= set(again.builder.roots)
    world.assert_levels(channel)


def test_a_damaged_source_parks_the_job_with_a_reason_and_mending_resumes_it(
    world: PropagationWorld,
):
    channel = filled(world)
    key = world.base.keys()[4]
    stored = world.base.objects.get(key)
    assert stored is not None
    whole = bytes(stored.data)
    world.base.objects.put(key, whole[:100] + b"damage" * 9, Overwrite())
    first = world.propagate(channel)
    status = first.propagation.status(SLICES, world.channel())
    assert (status.state, world.channel().propagate) == ("failed", 0)
    assert status.reason
    world.base.objects.put(key, whole, Overwrite())
    world.propagate(world.channel())
    assert world.channel().propagate == 2
    world.assert_levels(channel)


@pytest.mark.parametrize("error", [UpstreamThrottledError("slow"), KeyError("a fault of ours")])
def test_what_may_pass_is_tried_five_times(world: PropagationWorld, error: Exception):
    def fail(root: Any) -> None:
        raise error

    channel = filled(world)
    process = world.process(before_build=fail)
    process.propagation.start(SLICES, channel)
    world.pump(process, most=1)
    (message,) = world.queue.receive(1)
    for count in range(1, MOST_RECEIVES):
        with pytest.raises(type(error)):
            process.propagation.run(message.body, count)
        assert world.channel().propagate == 1
    process.propagation.run(message.body, MOST_RECEIVES)
    assert world.channel().propagate == 0
    assert (
        "slow" in str(error)
        or "KeyError" in process.propagation.status(SLICES, world.channel()).reason
    )


def test_what_cannot_pass_is_tried_once(world: PropagationWorld):
    def fail(root: Any) -> None:
        message = "broken"
        raise IntegrityError(message)

    channel = filled(world)
    process = world.process(before_build=fail)
    process.propagation.start(SLICES, channel)
    world.pump(process)
    assert process.propagation.status(SLICES, world.channel()).reason == "broken"
    assert len(process.builder.roots) == 1


@pytest.mark.parametrize("at", ["planning", "building"])
@pytest.mark.parametrize("returned", ["by the queue", "by the schedule"])
def test_what_ends_every_worker_parks_the_job(world: PropagationWorld, at: str, returned: str):
    """As a task does that needs more memory than there is: nobody lives to report it.

    Seen to fail without the count of tries: the job is called for again without end.
    """

    def run_out_of_memory(root: Any) -> None:
        raise Crash

    def process() -> Process:
        plan = FaultPlan(6) if at == "planning" else None
        return world.process(plan, before_build=run_out_of_memory)

    channel = filled(world)
    world.process().propagation.start(SLICES, channel)
    if at == "building":
        world.pump(most=1)
    for _ in range(100):
        if world.channel().propagate != 1:
            break
        if returned == "by the schedule":
            world.lose_messages()
        world.process().propagation.resend_pending()
        for message in world.queue.receive(1, 60):
            with suppress(Crash):
                process().propagation.run(message.body, message.receive_count)
        world.clock.advance(60)
    assert world.channel().propagate == 0
    status = world.process().propagation.status(SLICES, world.channel())
    assert "came to no end" in status.reason
    assert ("task" if at == "building" else "noting") in status.reason
    world.lose_messages()
    world.propagate(world.channel())  # on a machine with more memory
    world.assert_levels(channel)


def test_resetting_a_propagated_channel_makes_the_next_start_full(world: PropagationWorld):
    channel = filled(world)
    world.propagate(channel)
    world.process().propagation.reset(world.channel())
    assert world.channel().propagate == 0
    assert world.propagate(world.channel()).builder.roots


# --- only what must be ------------------------------------------------------------------------


def test_nothing_written_is_nothing_built(world: PropagationWorld):
    world.propagate(filled(world))
    process = world.propagate(world.channel())
    assert process.builder.roots == []
    assert world.channel().propagate == 2


def test_only_what_was_touched_is_built_again(world: PropagationWorld):
    channel = filled(world)
    world.propagate(channel)
    corner = world.part(Box((0, 0, 0), (5, 5, 2)))
    world.process().volume.write(world.channel(), corner, voxels(corner, 5))
    assert world.process().propagation.status(SLICES, world.channel()).stale == 1
    process = world.propagate(world.channel())
    plain = [(root.resolution, root.code) for root in process.builder.roots if not root.neariso]
    assert plain == [(1, 0), (2, 0), (3, 0)]
    world.assert_levels(channel)
    assert world.process().propagation.status(SLICES, world.channel()).stale == 0


def test_a_full_start_of_a_propagated_channel_builds_all(world: PropagationWorld):
    first = world.propagate(filled(world))
    again = world.propagate(world.channel(), full=True)
    assert sorted(map(repr, again.builder.roots)) == sorted(map(repr, first.builder.roots))


def test_another_method_builds_all_and_is_kept(world: PropagationWorld):
    channel = filled(world)
    world.propagate(channel)
    world.propagate(world.channel(), method=Method.NEAREST)
    world.assert_levels(channel, method=Method.NEAREST)
    corner = world.part(Box((0, 0, 0), (5, 5, 2)))
    world.process().volume.write(world.channel(), corner, voxels(corner, 5))
    world.propagate(world.channel())
    world.assert_levels(channel, method=Method.NEAREST)


def test_a_coarser_level_that_was_written_becomes_what_the_finer_makes_it(
    world: PropagationWorld,
):
    channel = filled(world)
    world.propagate(channel)
    part = world.part(Box((0, 0, 0), (30, 30, 9)), resolution=2)
    world.process().volume.write(world.channel(), part, voxels(part, 8))
    world.propagate(world.channel())
    world.assert_levels(channel)


def test_labels_that_were_painted_points_erased_or_merged_are_brought_up(cubes: PropagationWorld):
    channel = cubes.base.catalog.create_channel(labels())
    region = cubes.region()
    cubes.process().labels.paint(
        channel, region, voxels(region, 1, "<u4", top=9), Discipline.OVERWRITE
    )
    cubes.propagate(channel)
    volume = LabelVolume(cubes.channel("labels"), CUBES.pyramid.level(0), 0)
    points = np.argwhere(np.ones((4, 4, 4))) + 60
    steps = [
        lambda service, ch: service.paint_voxels(volume, points, 77, Discipline.OVERWRITE),
        lambda service, ch: service.erase_label(CUBES, ch, 3, resolution=0),
        lambda service, ch: service.merge_labels(CUBES, ch, 5, [6], resolution=0),
    ]
    for step in steps:
        step(cubes.process().labels, cubes.channel("labels"))
        cubes.propagate(cubes.channel("labels"))
        assert cubes.channel("labels").propagate == 2
        cubes.assert_levels(channel)
    assert (cubes.stored_level(channel, 1) == 77).any()


# --- messages ----------------------------------------------------------------------------------


def test_lost_messages_are_sent_again_when_nothing_moves(world: PropagationWorld):
    channel = filled(world)
    process = world.process()
    process.propagation.start(SLICES, channel)
    for _ in range(60):
        world.lose_messages()
        assert process.propagation.resend_pending() == 0
        world.clock.advance(OVERDUE_S)
        if process.propagation.resend_pending():  # at first it may see that something was done
            world.pump(process, most=1)
        if world.channel().propagate == 2:
            break
    world.assert_levels(channel)
    assert process.propagation.resend_pending() == 0


def test_a_job_that_moves_is_not_called_again(world: PropagationWorld):
    channel = filled(world)
    process = world.process()
    process.propagation.start(SLICES, channel)
    world.pump(process, most=2)
    waiting = len(world.queue.receive(10, 1))
    world.clock.advance(OVERDUE_S)
    world.pump(process, most=1)
    assert process.propagation.resend_pending() == 0
    assert waiting


def test_asking_for_the_state_calls_workers_that_are_missing(world: PropagationWorld):
    channel = filled(world)
    process = world.process()
    process.propagation.start(SLICES, channel)
    world.lose_messages()
    world.clock.advance(OVERDUE_S)
    process.propagation.status(SLICES, world.channel())
    world.pump(process)
    assert world.channel().propagate == 2


def test_rate_and_time_to_the_end_are_told(world: PropagationWorld):
    channel = filled(world)
    process = world.process()
    process.propagation.start(SLICES, channel)
    world.pump(process, most=1)
    world.clock.advance(10)
    world.pump(process, most=1)
    status = process.propagation.status(SLICES, world.channel())
    band = status.bands[0]
    assert (band.state, band.done, status.tasks_per_s) == ("building", 1, 0.1)
    assert status.eta_s is not None
    assert status.eta_s > (band.tasks - 1) * 10


# --- deletion ----------------------------------------------------------------------------------


def test_a_deleted_channel_leaves_no_rows_and_its_workers_stop(world: PropagationWorld):
    channel = filled(world)
    process = world.process()
    process.propagation.start(SLICES, channel)
    world.pump(process, most=2)
    assert any(channel.uid in "".join(key) for key in world.base.row_keys())
    world.base.catalog.delete_channel("pr", "em")
    world.pump(process)
    world.base.let_all_work_end()
    assert not [key for key in world.base.row_keys() if channel.uid in "".join(key)]
    assert world.base.keys() == []
    assert process.propagation.resend_pending() == 0


def test_a_channel_made_anew_is_not_touched_by_the_old_ones_job(world: PropagationWorld):
    channel = filled(world)
    process = world.process()
    process.propagation.start(SLICES, channel)
    world.base.catalog.delete_channel("pr", "em")
    world.base.catalog.create_channel(image())
    world.pump(process)
    assert world.channel().propagate == 0
    assert process.builder.roots == []
