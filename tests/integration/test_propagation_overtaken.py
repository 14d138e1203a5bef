"""Workers of a propagation that come late, or that others overtake between any two steps."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ndlambda.model.catalog import Channel
from ndlambda.services.propagation.jobs import (
    JobState,
    PropagationJob,
    PropagationJobs,
    TaskMessage,
)
from ndlambda.services.propagation.worker import MAX_RECEIVES
from tests.support.faults import Faulty, Interrupted
from tests.support.propagation_world import SLICES, SMALL, PropagationWorld, image, voxels


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PropagationWorld]:
    made = PropagationWorld(tmp_path, SLICES)
    yield made
    made.close()


def filled(world: PropagationWorld) -> Channel:
    channel = world.base.catalog.create_channel(image())
    world.process().volume.write(channel, world.region(), voxels(world.region(), 1))
    return channel


def made_again(world: PropagationWorld) -> None:
    world.base.catalog.delete_channel("pr", "em")
    filled(world)


def set_back(world: PropagationWorld) -> None:
    world.base.catalog.update_channel("pr", "em", propagate=0)


def jobs_of(world: PropagationWorld, table: Any = None) -> PropagationJobs:
    return PropagationJobs(table or world.table, world.queue, world.base.catalog, world.clock)


def noted(jobs: PropagationJobs, job: PropagationJob) -> None:
    jobs.step(job, called_at=7.0)


def cancelled(jobs: PropagationJobs, job: PropagationJob) -> None:
    jobs.end(job, JobState.CANCELLED)


@pytest.mark.parametrize("meanwhile", [noted, cancelled])
def test_a_step_that_is_overtaken_undoes_nothing(
    world: PropagationWorld, meanwhile: Callable[[PropagationJobs, PropagationJob], None]
):
    """Seen to fail without the version of the job's row in ``PropagationJobs.step``."""
    channel = filled(world)
    outcomes = set()
    for step in count(1):
        world.process().propagation.start(SLICES, world.channel())
        jobs = jobs_of(world)
        job = jobs.find(channel.uid)
        assert job is not None
        plan: Any = Interrupted(step, lambda jobs=jobs, job=job: meanwhile(jobs, job))
        stepped = jobs_of(world, Faulty(world.table, plan)).step(job, seen=9)
        now = jobs.find(channel.uid)
        assert now is not None
        if not plan.fired:
            break
        if meanwhile is noted:
            assert (now.called_at, now.seen) == (7.0, 9), plan.log
        else:
            assert now.state is JobState.CANCELLED, plan.log
            assert stepped is None, plan.log
        outcomes.add(step)
        if now.state is JobState.RUNNING:
            world.process().propagation.cancel(world.channel())
    assert outcomes == {1, 2}


@pytest.mark.parametrize("meanwhile", [made_again, set_back])
def test_the_end_of_a_job_leaves_a_channel_alone_that_is_not_in_its_state(
    tmp_path: Path, meanwhile: Callable[[PropagationWorld], None]
):
    """At any request of the last worker its channel is made again, or set back by hand.

    Seen to fail without the state that ``PropagationJobs.end`` expects: a channel is said to be
    propagated of which nothing is built.
    """
    for step in count(1):
        world = PropagationWorld(tmp_path / f"{step}", SMALL)
        world.process().propagation.start(SMALL, filled(world))
        world.pump(most=1)
        plan: Any = Interrupted(step, lambda world=world: meanwhile(world))
        world.pump(world.process(plan))
        propagate = world.channel().propagate
        world.close()
        if not plan.fired:
            assert propagate == 2
            break
        assert propagate == 0, plan.log
    assert step > 8


def test_the_end_of_a_job_does_not_end_that_of_a_channel_made_again(world: PropagationWorld):
    """Seen to fail without the uid that ``PropagationJobs.end`` expects."""
    old = filled(world)
    world.process().propagation.start(SLICES, old)
    jobs = jobs_of(world)
    job = jobs.find(old.uid)
    assert job is not None
    made_again(world)
    world.process().propagation.start(SLICES, world.channel())
    assert not jobs.end(job, JobState.DONE)
    assert world.channel().propagate == 1
    world.pump()
    assert world.channel().propagate == 2
    world.assert_levels(world.channel())


def test_a_task_of_an_earlier_run_that_comes_late_does_nothing(world: PropagationWorld):
    """Seen to fail where tasks of any plan are done: this one is of no layer of the band, and the
    job fails."""
    channel = filled(world)
    process = world.process()
    process.propagation.start(SLICES, channel)
    world.pump(process, most=1)
    [late] = world.queue.receive(1)
    task = TaskMessage.from_body(late.body)
    process.propagation.cancel(world.channel())
    world.lose_messages()
    process.propagation.start(SLICES, world.channel(), full=True)
    jobs = jobs_of(world)
    while (job := jobs.find(channel.uid)) is not None and job.band == 0:
        assert world.pump(process, most=1)
    assert job is not None
    assert task.plan != job.plan
    built = list(process.builder.roots)
    process.propagation.run(late.body, MAX_RECEIVES)
    assert process.builder.roots == built
    world.pump(process)
    assert world.channel().propagate == 2
    world.assert_levels(channel)


def test_nothing_is_built_of_a_channel_that_was_made_again(world: PropagationWorld):
    """Seen to fail without the uid in ``PropagationWorker``: levels of the new one are built."""
    old = filled(world)
    world.process().propagation.start(SLICES, old)
    world.pump(most=2)
    made_again(world)
    process = world.process()
    world.pump(process)
    assert process.builder.roots == []
    status = process.propagation.status(SLICES, old)
    assert (status.state, world.channel().propagate) == ("failed", 0)
    assert old.name in status.reason
    keys = world.base.keys(f"pr/em/{world.channel().uid}/")
    assert {key.split("/")[3] for key in keys} == {"0"}
