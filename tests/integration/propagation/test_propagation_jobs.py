"""Propagation from its start to its end: transitions, resumption, what is built again."""

from contextlib import closing, suppress

import numpy as np
import pytest

from ndlambda import errors
from ndlambda.model.catalog import Dataset
from ndlambda.model.discipline import Discipline
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.support.tries import MAX_TRIES
from ndlambda.space.box import Box
from ndlambda.stores.ports import Overwrite
from ndlambda.voxels.downsample import Method
from tests.support.faults import Crash, FaultPlan
from tests.support.propagation_world import (
    CUBES,
    OVERDUE_S,
    SLICES,
    PropagationWorld,
    image,
    labels,
    voxels,
)

CORNER = Box((0, 0, 0), (5, 5, 2))


@pytest.fixture
def world(pyramid):
    return pyramid


@pytest.fixture
def cubes(tmp_path):
    with closing(PropagationWorld(tmp_path, CUBES)) as made:
        yield made


def start(world, most=0):
    """Begin with a channel that has voxels everywhere."""
    world.make_filled()
    process = world.start()
    world.pump(process, most=most)
    return process


def paint(world, values):
    channel = world.channel("labels")
    world.process().labels.paint(channel, world.region(), values, Discipline.OVERWRITE)


def test_every_level_of_every_time_point_is_built(world):
    roots = world.propagate(world.make_filled(starttime=2, endtime=4)).builder.roots
    assert len(roots) == len(set(roots)), "each source is read in one task of a band"
    assert {root.resolution for root in roots} == {2, 3}
    world.assert_done()
    status = world.status()
    assert (status.state, status.propagate, status.stale) == ("done", 2, 0)
    assert [band.resolutions for band in status.bands] == [(1, 2), (3,), ()]
    assert status.bands[2].neariso == (3,)
    assert status.done == status.tasks > 0


def test_levels_begin_above_the_channels_own(world):
    world.propagate(world.make_filled(resolution=2))
    world.assert_done()
    stored = world.base.keys()
    assert {key.split("/")[3] for key in stored} == {"2", "3", "3n"}


@pytest.mark.parametrize("dataset", [Dataset("ds", (64, 64, 64)), SLICES], ids=["flat", "empty"])
def test_where_there_is_nothing_to_build_there_is_no_task(tmp_path, dataset):
    with closing(PropagationWorld(tmp_path, dataset)) as world:
        process = world.propagate(world.base.catalog.create_channel(image()))
        assert (world.channel().propagate, process.builder.roots) == (2, [])


def test_only_one_of_many_starts_wins_and_no_write_is_taken(world):
    channel = world.make_filled()
    world.start()
    for known in (channel, world.channel()):  # one still believes in state 0
        with pytest.raises(errors.InvalidStateError):
            world.process().propagation.start(SLICES, known)
    with pytest.raises(errors.InvalidStateError):
        world.touch(CORNER)
    world.pump()
    assert world.table.ends == 1


def test_readonly_channels_are_not_propagated_and_labels_take_no_method(world):
    world.base.catalog.create_channel(image(readonly=True))
    with pytest.raises(errors.ReadOnlyChannelError):
        world.start()
    world.base.catalog.create_channel(labels())
    with pytest.raises(errors.InvalidArgumentError):
        world.start("labels", method=Method.NEAREST)


def test_cancelling_frees_the_channel_and_a_new_start_goes_on(world):
    first = start(world, most=3)
    built = [*first.builder.roots]
    assert len(built) == 2
    first.propagation.cancel(world.channel())
    assert (world.channel().propagate, world.status().state) == (0, "cancelled")
    with pytest.raises(errors.InvalidStateError):
        first.propagation.cancel(world.channel())
    world.pump(first)  # messages that are left do nothing
    assert first.builder.roots == built
    second = world.propagate(world.channel())
    assert not set(second.builder.roots) & set(built)
    world.assert_done()


def test_what_is_written_between_cancelling_and_going_on_is_built_again(world):
    """Seen to fail with ``PropagationMarks.track_write`` that marks nothing: level 1 stays old."""
    first = start(world, most=4)
    first.propagation.cancel(world.channel())
    world.fill(world.channel(), 77)
    world.propagate(world.channel())
    world.assert_levels(world.channel())


def test_a_full_start_forgets_what_a_cancelled_run_did(world):
    first = start(world, most=3)
    first.propagation.cancel(world.channel())
    again = world.propagate(world.channel(), full=True)
    assert set(first.builder.roots) <= set(again.builder.roots)
    world.assert_levels(world.channel())


def test_a_damaged_source_parks_the_job_with_a_reason_and_mending_resumes_it(world):
    channel, objects = world.make_filled(), world.base.objects
    key = world.base.keys()[4]
    whole = bytes(objects.get(key).data)
    objects.put(key, whole[:100] + b"damage" * 9, Overwrite())
    world.propagate(channel)
    status = world.status()
    assert (status.state, world.channel().propagate) == ("failed", 0)
    assert status.reason
    objects.put(key, whole, Overwrite())
    world.propagate(world.channel())
    world.assert_done()


@pytest.mark.parametrize(
    ("error", "tries", "reason"),
    [
        (errors.UpstreamThrottledError("slow"), MAX_TRIES, "slow"),
        (KeyError("a fault of ours"), MAX_TRIES, "KeyError"),
        (errors.IntegrityError("broken"), 1, "broken"),
    ],
)
def test_only_what_may_pass_is_tried_five_times(world, error, tries, reason):
    def fail(root):
        raise error

    process = world.process(before_build=fail)
    process.propagation.start(SLICES, world.make_filled())
    world.pump(process, most=1)
    (message,) = world.queue.receive(1)
    for number in range(1, tries):
        with pytest.raises(type(error)):
            process.propagation.run(message.body, number)
        assert world.channel().propagate == 1
    process.propagation.run(message.body, tries)
    assert world.channel().propagate == 0
    assert reason in world.status().reason
    assert len(process.builder.roots) == tries


@pytest.mark.parametrize("at", ["planning", "building"])
@pytest.mark.parametrize("returned", ["by the queue", "by the schedule"])
def test_what_ends_every_worker_parks_the_job(world, at, returned):
    """Seen to fail without the count of tries: the job is called for again without end."""

    def run_out_of_memory(root):
        raise Crash

    start(world, most=1 if at == "building" else 0)
    for _ in range(100):
        if world.channel().propagate != 1:
            break
        if returned == "by the schedule":
            world.lose_messages()
        world.process().propagation.sweep()
        for message in world.queue.receive(1, 60):
            plan = FaultPlan(6) if at == "planning" else None
            process = world.process(plan, before_build=run_out_of_memory)
            with suppress(Crash):
                process.propagation.run(message.body, message.receive_count)
        world.clock.advance(60)
    assert world.channel().propagate == 0
    reason = world.status().reason
    assert "did not finish" in reason
    assert ("task" if at == "building" else "noting") in reason
    world.lose_messages()
    world.propagate(world.channel())  # on a machine with more memory
    world.assert_levels(world.channel())


def test_only_what_was_touched_is_built_again_unless_all_is_asked_for(world):
    def roots(**how):
        found = world.propagate(world.channel(), **how).builder.roots
        assert world.channel().propagate == 2
        return sorted(found, key=repr)

    world.make_filled()
    first = roots()
    assert roots() == [], "nothing was written"
    world.touch(CORNER)
    assert world.status().stale == 1
    plain = [(root.resolution, root.code) for root in roots() if not root.neariso]
    assert plain == [(1, 0), (2, 0), (3, 0)]
    world.assert_levels(world.channel())
    assert world.status().stale == 0
    assert roots(full=True) == first
    world.process().propagation.reset(world.channel())
    assert world.channel().propagate == 0
    assert roots() == first


def test_another_method_builds_all_and_is_kept(world):
    world.propagate(world.make_filled())
    world.propagate(world.channel(), method=Method.NEAREST)
    world.assert_done(method=Method.NEAREST)
    world.touch(CORNER)
    world.propagate(world.channel())
    world.assert_done(method=Method.NEAREST)


def test_a_coarser_level_that_was_written_becomes_what_the_finer_makes_it(world):
    world.propagate(world.make_filled())
    part = world.part(Box((0, 0, 0), (30, 30, 9)), resolution=2)
    world.process().volume.write(world.channel(), part, voxels(part, 8))
    world.propagate(world.channel())
    world.assert_levels(world.channel())


def test_labels_that_were_painted_points_erased_or_merged_are_brought_up(cubes):
    channel = cubes.base.catalog.create_channel(labels())
    paint(cubes, voxels(cubes.region(), 1, "<u4", top=9))
    cubes.propagate(channel)
    volume = LabelVolume(cubes.channel("labels"), CUBES.pyramid.level(0), 0)
    points = np.argwhere(np.ones((4, 4, 4))) + 60
    for step in (
        lambda service, ch: service.paint_voxels(volume, points, 77, Discipline.OVERWRITE),
        lambda service, ch: service.erase_labels(CUBES, ch, [3], resolution=0),
        lambda service, ch: service.merge_labels(CUBES, ch, 5, [6], resolution=0),
    ):
        step(cubes.process().labels, cubes.channel("labels"))
        cubes.propagate(cubes.channel("labels"))
        cubes.assert_done("labels")
    assert (cubes.stored_level(channel, 1) == 77).any()


def test_lost_messages_are_sent_again_when_nothing_moves(world):
    process = start(world)
    for _ in range(60):
        world.lose_messages()
        process.propagation.sweep()
        assert not world.called(), "it is not overdue"
        world.clock.advance(OVERDUE_S)
        process.propagation.sweep()  # at first it may see that something was done
        if called := world.called():
            process.propagation.run(called[0].body)
        if world.channel().propagate == 2:
            break
    world.assert_levels(world.channel())
    process.propagation.sweep()
    assert not world.called()


def test_a_job_that_moves_is_not_called_again(world):
    process = start(world, most=2)
    assert world.queue.receive(10, 1)
    world.clock.advance(OVERDUE_S)
    world.pump(process, most=2)  # a task, and a look after the job
    world.lose_messages()
    process.propagation.sweep()
    assert not world.called()


def test_asking_for_the_state_calls_workers_that_are_missing(world):
    process = start(world)
    world.lose_messages()
    world.clock.advance(OVERDUE_S)
    world.status()
    world.pump(process)
    assert world.channel().propagate == 2


def test_rate_and_time_to_the_end_are_told(world):
    process = start(world, most=1)
    world.clock.advance(10)
    world.pump(process, most=1)
    status = world.status()
    band = status.bands[0]
    assert (band.state, band.done, status.tasks_per_s) == ("building", 1, 0.1)
    assert status.eta_s > (band.tasks - 1) * 10


def test_a_deleted_channel_leaves_no_rows_and_its_workers_stop(world):
    process, channel = start(world, most=2), world.channel()
    assert any(channel.uid in "".join(key) for key in world.base.row_keys())
    world.base.catalog.delete_channel("pr", "em")
    world.pump(process)
    world.base.let_all_work_end()
    assert not [key for key in world.base.row_keys() if channel.uid in "".join(key)]
    assert world.base.keys() == []
    assert process.propagation.sweep() == 0
