"""Deletions and merges that cannot succeed are given up with a reason, and go on when retried."""

import random
from contextlib import suppress

import pytest

from ndlambda.errors import InvalidStateError, UpstreamError
from ndlambda.services.catalog.deletion_job import EraseState
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.deletion.worker import Erasure
from ndlambda.services.support.tries import MAX_TRIES
from ndlambda.services.support.watch import WatchMessage
from tests.support.catalog_world import GRACE_S, disk_world, no_objects, populate
from tests.support.faults import Crash, FaultPlan, Wrapped


@pytest.fixture
def world(tmp_path):
    return disk_world(tmp_path / "world")


def jobs_of(world):
    return EraseJobs(world.table, world.queue, world.clock)


def worker_of(world, harm):
    """Return a worker whose store does harm to what deletes objects."""

    def delete_many(real, keys):
        raise harm

    objects = Wrapped(world.objects, delete_many=delete_many)
    return Erasure(
        world.table, objects, jobs_of(world), no_objects, grace_s=GRACE_S, clock=world.clock
    )


def run_out(world, worker, seconds=7200):
    """Let time pass and workers fail; return the seconds at which messages asked for a run."""
    asked, begun = [], world.clock.now
    while world.clock.now - begun < seconds:
        for message in world.queue.receive(10, 900):
            asked += [world.clock.now - begun] * (WatchMessage.find(message.body) is None)
            with suppress(Crash):
                worker.handle(message.body, message.receive_count)
                world.queue.ack([message.receipt])
        world.clock.advance(5)
    return asked


def test_a_failing_store_ends_in_a_failed_job_after_bounded_tries(world):
    """Seen to fail where a failure is only raised: the job is called for without end."""
    stored = populate(world)[0]
    world.catalog.delete_channel("pr", "ch")
    asked = run_out(world, worker_of(world, UpstreamError("The store burns.")))
    assert len(asked) == MAX_TRIES
    assert asked[-1] - asked[0] < 120
    job = jobs_of(world).find(stored.uid)
    assert (job.state, job.reason, job.tries) == (EraseState.FAILED, "The store burns.", MAX_TRIES)
    assert run_out(world, world.erasure) == [], "nobody asks for it any more"
    jobs_of(world).retry(stored.uid)
    world.let_all_work_end()
    assert world.keys("pr/ch/") == []
    assert jobs_of(world).find(stored.uid) is None


def test_runs_that_kill_their_workers_end_in_a_failed_job(world):
    """Seen to fail where only reported failures count."""
    stored = populate(world)[0]
    world.catalog.delete_channel("pr", "ch")
    asked = run_out(world, worker_of(world, Crash()), seconds=6 * 3600)
    job = jobs_of(world).find(stored.uid)
    assert job.state is EraseState.FAILED
    assert "did not finish" in job.reason
    assert len(asked) <= 2 * MAX_TRIES
    jobs_of(world).retry(stored.uid)
    world.let_all_work_end()
    assert world.keys("pr/ch/") == []


def test_failures_between_which_a_job_moves_do_not_add_up(world):
    """Seen to fail where tries are never reset."""
    stored = populate(world)[0]
    world.catalog.delete_channel("pr", "ch")
    failing = worker_of(world, UpstreamError("Slow down."))
    for _ in range(MAX_TRIES - 1):
        failing.run(stored.uid)
    world.erasure.run(stored.uid)  # the first pass
    world.write(stored)
    world.clock.advance(GRACE_S)
    for _ in range(MAX_TRIES - 1):
        failing.run(stored.uid)
    assert jobs_of(world).find(stored.uid).state is EraseState.OPEN
    world.let_all_work_end()
    assert jobs_of(world).find(stored.uid) is None


def test_a_doubled_message_of_a_running_job_is_no_try(world):
    """Seen to fail where every delivery counts as a try."""
    stored = populate(world)[0]
    world.catalog.delete_channel("pr", "ch")
    jobs = jobs_of(world)
    for _ in range(2 * MAX_TRIES):
        assert jobs.take(stored.uid, is_redelivery=False).tries == 0


def test_only_a_failed_job_is_retried(world):
    stored = populate(world)[0]
    with pytest.raises(InvalidStateError):
        jobs_of(world).retry(stored.uid)


@pytest.mark.parametrize("seed", range(8))
def test_deletions_end_though_messages_are_lost_doubled_and_late_and_workers_die(world, seed):
    """Seen to fail where lost messages are made up for neither by watch chains nor by the sweep."""
    draw = random.Random(seed).random
    populate(world)
    world.catalog.delete_project("pr")
    for turn in range(1, 2000):
        for message in world.queue.receive(10, 60):
            fate = draw()
            if fate < 0.1:
                world.queue.ack([message.receipt])
            elif fate < 0.3:
                world.queue.retry_later(message.receipt, 300)
            else:
                plan = FaultPlan(int(draw() * 30) + 1) if draw() < 0.2 else None
                worker, _ = world.services(plan)
                with suppress(Crash):
                    for _ in range(2 if draw() < 0.2 else 1):
                        worker.handle(message.body, message.receive_count)
                    world.queue.ack([message.receipt])
        world.clock.advance(60)
        if turn % 200 == 0:
            world.erasure.sweep()
        if not world.table.query("erase").rows:
            break
    assert not world.table.query("erase").rows
    assert world.keys("pr/") == []
    assert len(world.keys("pr2/")) == 3
