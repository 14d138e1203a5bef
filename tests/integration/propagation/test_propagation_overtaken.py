"""Workers of a propagation that come late, or that others overtake between any two steps."""

from itertools import count

import pytest

from ndlambda.services.propagation.jobs import JobState, PropagationJobs, TaskMessage
from ndlambda.services.support.tries import MAX_TRIES
from tests.support.faults import Faulty, overtaken
from tests.support.propagation_world import SLICES, SMALL, PropagationWorld


def made_again(world):
    world.base.catalog.delete_channel("pr", "em")
    world.make_filled()


def set_back(world):
    world.base.catalog.update_channel("pr", "em", propagate=0)


def jobs_of(world, table=None):
    return PropagationJobs(table or world.table, world.queue, world.base.catalog, world.clock)


@pytest.fixture
def world(pyramid):
    pyramid.make_filled()
    return pyramid


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_step_that_is_overtaken_undoes_nothing(world, is_cancelled):
    """Seen to fail without the version of the job's row in ``PropagationJobs.step``."""
    jobs, uid = jobs_of(world), world.channel().uid

    def begun():
        while True:
            world.start()
            yield jobs.find(uid)
            if jobs.find(uid).state is JobState.RUNNING:
                world.process().propagation.cancel(world.channel())

    def meanwhile(job):
        jobs.end(job, JobState.CANCELLED) if is_cancelled else jobs.step(job, called_at=7.0)

    requests = 0
    for job, plan in overtaken(begun(), meanwhile):
        stepped, now = jobs_of(world, Faulty(world.table, plan)).step(job, seen=9), jobs.find(uid)
        requests += plan.fired
        if plan.fired and is_cancelled:
            assert (now.state, stepped) == (JobState.CANCELLED, None), plan.log
        elif plan.fired:
            assert (now.called_at, now.seen) == (7.0, 9), plan.log
    assert requests == 2


@pytest.mark.parametrize("meanwhile", [made_again, set_back])
def test_the_end_of_a_job_leaves_a_channel_alone_that_is_not_in_its_state(tmp_path, meanwhile):
    """Seen to fail without the state that ``PropagationJobs.end`` expects."""
    worlds = (PropagationWorld(tmp_path / f"{number}", SMALL) for number in count())
    for world, plan in overtaken(worlds, meanwhile, least=9):
        world.make_filled()
        world.start()
        world.pump(most=1)
        world.pump(world.process(plan))
        assert world.channel().propagate == (0 if plan.fired else 2), plan.log
        world.close()


def test_the_end_of_a_job_does_not_end_that_of_a_channel_made_again(world):
    """Seen to fail without the uid that ``PropagationJobs.end`` expects."""
    world.start()
    jobs = jobs_of(world)
    job = jobs.find(world.channel().uid)
    made_again(world)
    world.start()
    assert not jobs.end(job, JobState.DONE)
    assert world.channel().propagate == 1
    world.pump()
    world.assert_done()


def test_a_task_of_an_earlier_run_that_comes_late_does_nothing(world):
    """Seen to fail where tasks of any plan are done: the job fails."""
    process, uid = world.start(), world.channel().uid
    world.pump(process, most=1)
    [late] = world.queue.receive(1)
    process.propagation.cancel(world.channel())
    world.lose_messages()
    process.propagation.start(SLICES, world.channel(), full=True)
    jobs = jobs_of(world)
    while jobs.find(uid).band == 0:
        assert world.pump(process, most=1)
    assert TaskMessage.from_body(late.body).plan != jobs.find(uid).plan
    built = list(process.builder.roots)
    process.propagation.run(late.body, MAX_TRIES)
    assert process.builder.roots == built
    world.pump(process)
    world.assert_done()


def test_nothing_is_built_of_a_channel_that_was_made_again(world):
    """Seen to fail without the uid in ``PropagationWorker``: levels of the new one are built."""
    world.start()
    old = world.channel()
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
