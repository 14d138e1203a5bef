"""Propagation from its start to its end: transitions, resumption, what is built anew."""

from contextlib import suppress

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
from ndlambda.services.propagation.worker import MAX_RECEIVES
from ndlambda.space.box import Box
from ndlambda.stores.ports import Overwrite
from ndlambda.voxels.downsample import Method
from tests.support.faults import Crash, FaultPlan
from tests.support.label_world import points_of
from tests.support.propagation_world import (
    CUBES,
    OVERDUE_S,
    SLICES,
    PropagationWorld,
    image,
    labels,
    voxels,
)


@pytest.fixture
def world(tmp_path):
    made = PropagationWorld(tmp_path, SLICES)
    yield made
    made.close()


@pytest.fixture
def cubes(tmp_path):
    made = PropagationWorld(tmp_path, CUBES)
    yield made
    made.close()


def start(world, **changes):
    """Start the propagation of a channel with voxels everywhere, and return the process."""
    process = world.process()
    process.propagation.start(SLICES, world.make_filled(**changes))
    return process


CORNER = Box((0, 0, 0), (5, 5, 2))


def test_every_level_of_every_time_point_is_built(world):
    channel = world.make_filled(starttime=2, endtime=4)
    roots = world.propagate(channel).builder.roots
    assert len(roots) == len(set(roots)), "each source is read in one task of a band"
    assert {root.resolution for root in roots} == {2, 3}
    assert world.channel().propagate == 2
    world.assert_levels(world.channel())
    status = world.status()
    assert (status.state, status.propagate, status.stale) == ("done", 2, 0)
    assert [band.resolutions for band in status.bands] == [(1, 2), (3,), ()]
    assert status.bands[2].neariso == (3,)
    assert status.done == status.tasks > 0


def test_levels_begin_above_the_channels_own(world):
    channel = world.make_filled(resolution=2)
    world.propagate(channel)
    world.assert_levels(world.channel())
    stored = world.base.keys()
    assert {key.split("/")[3] for key in stored} == {"2", "3", "3n"}


def test_labels_are_voted_on_and_indexed(cubes):
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


def test_where_there_is_nothing_to_build_there_is_no_task(tmp_path):
    flat = Dataset("ds", (64, 64, 64))
    for name, dataset in (("without coarser levels", flat), ("empty", SLICES)):
        world = PropagationWorld(tmp_path / name, dataset)
        process = world.propagate(world.base.catalog.create_channel(image()))
        assert (world.channel().propagate, process.builder.roots) == (2, [])
        world.close()


def test_only_one_of_many_starts_wins_and_no_write_is_taken(world):
    channel = world.make_filled()
    world.process().propagation.start(SLICES, channel)
    with pytest.raises(InvalidStateError):
        world.process().propagation.start(SLICES, channel)  # it still believes in state 0
    with pytest.raises(InvalidStateError):
        world.process().propagation.start(SLICES, world.channel())
    with pytest.raises(InvalidStateError):
        world.touch(CORNER)
    world.pump()
    assert world.table.ends == 1


def test_readonly_channels_are_not_propagated_and_labels_take_no_method(world):
    readonly = world.base.catalog.create_channel(image(readonly=True))
    with pytest.raises(ReadOnlyChannelError):
        world.process().propagation.start(SLICES, readonly)
    channel = world.base.catalog.create_channel(labels())
    with pytest.raises(InvalidArgumentError):
        world.process().propagation.start(SLICES, channel, method=Method.NEAREST)


def test_cancelling_frees_the_channel_and_a_new_start_goes_on(world):
    first = start(world)
    world.pump(first, most=3)
    built = first.builder.roots
    assert len(built) == 2
    first.propagation.cancel(world.channel())
    assert world.channel().propagate == 0
    assert world.status().state == "cancelled"
    with pytest.raises(InvalidStateError):
        first.propagation.cancel(world.channel())
    world.pump(first)  # messages that are left do nothing
    assert first.builder.roots == built
    second = world.propagate(world.channel())
    assert world.channel().propagate == 2
    assert not set(second.builder.roots) & set(built)
    world.assert_levels(world.channel())


def test_what_is_written_between_cancelling_and_going_on_is_built_again(world):
    """Seen to fail with ``PropagationMarks.track_write`` that marks nothing: level 1 stays old."""
    first = start(world)
    world.pump(first, most=4)
    first.propagation.cancel(world.channel())
    world.fill(world.channel(), 77)
    world.propagate(world.channel())
    world.assert_levels(world.channel())


def test_a_full_start_forgets_what_a_cancelled_run_did(world):
    first = start(world)
    world.pump(first, most=3)
    first.propagation.cancel(world.channel())
    again = world.propagate(world.channel(), full=True)
    assert set(first.builder.roots) <= set(again.builder.roots)
    world.assert_levels(world.channel())


def test_a_damaged_source_parks_the_job_with_a_reason_and_mending_resumes_it(world):
    channel = world.make_filled()
    key = world.base.keys()[4]
    stored = world.base.objects.get(key)
    whole = bytes(stored.data)
    world.base.objects.put(key, whole[:100] + b"damage" * 9, Overwrite())
    world.propagate(channel)
    status = world.status()
    assert (status.state, world.channel().propagate) == ("failed", 0)
    assert status.reason
    world.base.objects.put(key, whole, Overwrite())
    world.propagate(world.channel())
    assert world.channel().propagate == 2
    world.assert_levels(world.channel())


@pytest.mark.parametrize("error", [UpstreamThrottledError("slow"), KeyError("a fault of ours")])
def test_what_may_pass_is_tried_five_times(world, error):
    def fail(root):
        raise error

    process = world.process(before_build=fail)
    process.propagation.start(SLICES, world.make_filled())
    world.pump(process, most=1)
    (message,) = world.queue.receive(1)
    for count in range(1, MAX_RECEIVES):
        with pytest.raises(type(error)):
            process.propagation.run(message.body, count)
        assert world.channel().propagate == 1
    process.propagation.run(message.body, MAX_RECEIVES)
    assert world.channel().propagate == 0
    assert "slow" in str(error) or "KeyError" in world.status().reason


def test_what_cannot_pass_is_tried_once(world):
    def fail(root):
        message = "broken"
        raise IntegrityError(message)

    process = world.process(before_build=fail)
    process.propagation.start(SLICES, world.make_filled())
    world.pump(process)
    assert world.status().reason == "broken"
    assert len(process.builder.roots) == 1


@pytest.mark.parametrize("at", ["planning", "building"])
@pytest.mark.parametrize("returned", ["by the queue", "by the schedule"])
def test_what_ends_every_worker_parks_the_job(world, at, returned):
    """Seen to fail without the count of tries: the job is called for again without end."""

    def run_out_of_memory(root):
        raise Crash

    def process():
        plan = FaultPlan(6) if at == "planning" else None
        return world.process(plan, before_build=run_out_of_memory)

    channel = world.make_filled()
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
    assert "did not finish" in status.reason
    assert ("task" if at == "building" else "noting") in status.reason
    world.lose_messages()
    world.propagate(world.channel())  # on a machine with more memory
    world.assert_levels(world.channel())


def test_only_what_was_touched_is_built_again_unless_all_is_asked_for(world):
    first = world.propagate(world.make_filled())
    assert world.propagate(world.channel()).builder.roots == [], "nothing was written"
    assert world.channel().propagate == 2
    world.touch(CORNER)
    assert world.status().stale == 1
    process = world.propagate(world.channel())
    plain = [(root.resolution, root.code) for root in process.builder.roots if not root.neariso]
    assert plain == [(1, 0), (2, 0), (3, 0)]
    world.assert_levels(world.channel())
    assert world.status().stale == 0
    full = world.propagate(world.channel(), full=True)
    world.process().propagation.reset(world.channel())
    assert world.channel().propagate == 0
    after_reset = world.propagate(world.channel())
    for again in (full, after_reset):
        assert sorted(map(repr, again.builder.roots)) == sorted(map(repr, first.builder.roots))


def test_another_method_builds_all_and_is_kept(world):
    channel = world.make_filled()
    world.propagate(channel)
    world.propagate(world.channel(), method=Method.NEAREST)
    world.assert_levels(channel, method=Method.NEAREST)
    world.touch(CORNER)
    world.propagate(world.channel())
    world.assert_levels(channel, method=Method.NEAREST)


def test_a_coarser_level_that_was_written_becomes_what_the_finer_makes_it(world):
    channel = world.make_filled()
    world.propagate(channel)
    part = world.part(Box((0, 0, 0), (30, 30, 9)), resolution=2)
    world.process().volume.write(world.channel(), part, voxels(part, 8))
    world.propagate(world.channel())
    world.assert_levels(world.channel())


def test_labels_that_were_painted_points_erased_or_merged_are_brought_up(cubes):
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


def test_lost_messages_are_sent_again_when_nothing_moves(world):
    process = start(world)
    for _ in range(60):
        world.lose_messages()
        assert process.propagation.resend_pending() == 0
        world.clock.advance(OVERDUE_S)
        if process.propagation.resend_pending():  # at first it may see that something was done
            world.pump(process, most=1)
        if world.channel().propagate == 2:
            break
    world.assert_levels(world.channel())
    assert process.propagation.resend_pending() == 0


def test_a_job_that_moves_is_not_called_again(world):
    process = start(world)
    world.pump(process, most=2)
    waiting = len(world.queue.receive(10, 1))
    world.clock.advance(OVERDUE_S)
    world.pump(process, most=1)
    assert process.propagation.resend_pending() == 0
    assert waiting


def test_asking_for_the_state_calls_workers_that_are_missing(world):
    process = start(world)
    world.lose_messages()
    world.clock.advance(OVERDUE_S)
    process.propagation.status(SLICES, world.channel())
    world.pump(process)
    assert world.channel().propagate == 2


def test_rate_and_time_to_the_end_are_told(world):
    process = start(world)
    world.pump(process, most=1)
    world.clock.advance(10)
    world.pump(process, most=1)
    status = world.status()
    band = status.bands[0]
    assert (band.state, band.done, status.tasks_per_s) == ("building", 1, 0.1)
    assert status.eta_s is not None
    assert status.eta_s > (band.tasks - 1) * 10


def test_a_deleted_channel_leaves_no_rows_and_its_workers_stop(world):
    process, channel = start(world), world.channel()
    world.pump(process, most=2)
    assert any(channel.uid in "".join(key) for key in world.base.row_keys())
    world.base.catalog.delete_channel("pr", "em")
    world.pump(process)
    world.base.let_all_work_end()
    assert not [key for key in world.base.row_keys() if channel.uid in "".join(key)]
    assert world.base.keys() == []
    assert process.propagation.resend_pending() == 0


def test_a_channel_made_anew_is_not_touched_by_the_old_ones_job(world):
    process = start(world)
    world.base.catalog.delete_channel("pr", "em")
    world.base.catalog.create_channel(image())
    world.pump(process)
    assert world.channel().propagate == 0
    assert process.builder.roots == []
