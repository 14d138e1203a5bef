"""Writers beside a propagation: whatever they write is in the levels, or marked as not yet."""

from contextlib import suppress
from itertools import count

import pytest

from ndlambda.space.box import Box
from tests.support.faults import Crash, FaultPlan, Wrapped
from tests.support.propagation_world import image, voxels

CORNER = Box((5, 5, 2), (9, 9, 4))


@pytest.fixture
def world(pyramid):
    return pyramid


def write_beside(world, before=lambda: None, after=lambda: None):
    """Write a corner in a process that looked at the channel before everything else."""

    def put(put, *args):
        before()
        etag = put(*args)
        after()
        return etag

    process, part = world.process(), world.part(CORNER)
    process.volume._objects = Wrapped(world.base.objects, put=put)
    process.volume.write(world.channel(), part, voxels(part, 99))


def check_nothing_is_missed(world):
    world.pump()
    status = world.status()
    assert status.propagate == 2
    if status.stale:
        world.propagate(world.channel())
    world.assert_levels(world.channel())


@pytest.fixture(params=["never propagated", "propagated", "cancelled"])
def channel(world, request):
    made = world.base.catalog.create_channel(image())
    world.touch(Box((200, 130, 0), (210, 140, 9)), 1)
    if request.param == "propagated":
        world.propagate(made)
    elif request.param == "cancelled":
        process = world.start()
        world.pump(process, most=1)
        process.propagation.cancel(world.channel())
    return made


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("most", [0, 1, 2, None])
def test_a_write_during_which_a_job_starts_is_not_missed(world, channel, when, most):
    """Seen to fail without the mark behind the write, and where any mark is removed."""

    def job():
        world.start()
        world.pump(most=most)

    write_beside(world, **{when: job})
    world.pump()
    # Where the job had not ended when the write did, another round has taken it in.
    assert most is None or world.status().stale == 0
    check_nothing_is_missed(world)


@pytest.mark.parametrize("most", [1, 2, 3, 4, None])
def test_a_slow_write_that_began_before_the_job_and_ends_at_any_time_is_not_missed(
    world, channel, most
):
    """Seen to fail without the mark behind the write."""
    started = []

    def before():
        world.start()
        world.pump(most=most)

    write_beside(world, before, lambda: started.append(world.pump()))
    assert started
    check_nothing_is_missed(world)


def test_a_write_that_changes_nothing_marks_all_the_same(world):
    """Its first attempt may have died between the voxels and whatever came after."""
    made = world.base.catalog.create_channel(image())
    world.touch(CORNER, 1)
    world.propagate(made)
    world.touch(CORNER, 1)
    assert world.status().stale == 1


def test_a_writer_that_dies_at_any_request_leaves_no_voxel_unmarked(world):
    """Seen to fail with the mark made behind the write instead of before it."""
    made = world.base.catalog.create_channel(image())
    world.touch(CORNER, 0)
    world.propagate(made)
    part = world.part(CORNER)
    for step in count(1):
        plan = FaultPlan(step)
        with suppress(Crash):
            world.process(plan).volume.write(world.channel(), part, voxels(part, step))
        world.propagate(world.channel())
        world.assert_levels(made)
        if not plan.fired:
            assert step > 4
            return


def test_finer_levels_than_the_channels_own_are_not_marked(world):
    world.propagate(world.base.catalog.create_channel(image(resolution=1)))
    world.touch(CORNER)
    assert world.status().stale == 0
