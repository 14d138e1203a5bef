"""What was uploaded to jobs goes when these have ended for good, and not before."""

from contextlib import suppress

import numpy as np
import pytest

from ingest_queue.build.ended import GRACE_S, EndedJobs
from ingest_queue.jobs.job import ENDED, Policy, State
from ingest_queue.jobs.keys import part_key
from ndlambda.services.support.watch import Look
from tests.support.faults import Crash, FaultPlan
from tests.support.ingest_world import FOLDER, OFFSET, look_after_all, png, stack

BAD = 9
DEPTH = 18  # slices of a volume of two chunks
VOXELS = stack(1, z=DEPTH)[0]


def upload(world, voxels, *, spoil=False, **spec):
    """Make a job and upload slices to it, and an object that is none."""
    job = world.create(**spec)
    grid = world.process().ingest.target(job).grid(job)
    for z, plane in enumerate(voxels, OFFSET):
        body = b"no image" if spoil and z == BAD else png(plane)
        world.drop(f"{grid.of_slice(0, z).number:012x}/{z:06d}.png", body, job.folder)
    return job


def uploads(world, job):
    return [info.key for info in world.drop_store.list(job.folder)]


def sweep_after(world, seconds):
    world.base.clock.advance(seconds)
    look_after_all(world.process().ingest)


def state_of(world, job):
    return world.process().ingest.ledger.get(job.id).state


def test_uploads_of_a_cancelled_job_go_when_no_more_uploads_are_allowed(world):
    """Seen to fail where cancelled jobs are not listed: their uploads stay forever."""
    dropped = world.put_stack(VOXELS[None])
    job, other = upload(world, VOXELS[:17]), upload(world, VOXELS[:3])
    world.process().ingest.cancel(job)
    sweep_after(world, GRACE_S - 1)
    assert len(uploads(world, job)) == 17
    late = part_key(job.id, 0, f"{OFFSET + 1:06d}.png")
    world.drop(late.removeprefix(job.folder), png(VOXELS[1]), job.folder)
    sweep_after(world, 1)
    assert not uploads(world, job)
    assert len(uploads(world, other)) == 3
    assert [info.key for info in world.drop_store.list(FOLDER)] == dropped
    assert not world.table.query(ENDED).rows


def test_what_came_too_late_for_a_complete_job_goes(world):
    """Its other uploads went when they were stored."""
    job = upload(world, VOXELS)
    world.pump()
    assert state_of(world, job) is State.COMPLETE
    assert not uploads(world, job)
    world.drop(f"{0:012x}/{OFFSET:06d}.png", png(VOXELS[0]), job.folder)
    sweep_after(world, GRACE_S)
    assert not uploads(world, job)
    np.testing.assert_array_equal(world.stored(), VOXELS)


@pytest.mark.parametrize("policy", Policy)
def test_uploads_of_a_job_that_can_be_mended_stay(world, policy):
    """Seen to fail where every end is final: there is nothing to build the mended chunk of."""
    job = upload(world, VOXELS, spoil=True, on_bad=policy)
    world.pump()
    assert not state_of(world, job).takes_input
    sweep_after(world, 10 * GRACE_S)
    assert f"{job.folder}{0:012x}/{BAD:06d}.png" in uploads(world, job)
    world.drop(f"{0:012x}/{BAD:06d}.png", png(VOXELS[BAD - OFFSET]), job.folder)
    world.sweep()
    assert state_of(world, job) is State.COMPLETE
    np.testing.assert_array_equal(world.stored(), VOXELS)
    sweep_after(world, GRACE_S)
    assert not uploads(world, job)


def test_files_that_people_dropped_stay_when_their_job_ends(world):
    keys = world.put_stack(VOXELS[None])
    world.notice(keys[:9])
    world.process().ingest.cancel(world.job())
    sweep_after(world, 10 * GRACE_S)
    assert [info.key for info in world.drop_store.list(FOLDER)] == keys
    assert not world.table.query(ENDED).rows


def test_many_uploads_go_in_several_runs_though_workers_die(world):
    job = upload(world, VOXELS[:17])
    world.process().ingest.cancel(job)
    world.base.clock.advance(GRACE_S)
    whole = EndedJobs(world.process().ingest.ledger, world.drop_store, max_deletions=4)
    job = world.process().ingest.ledger.get(job.id)
    assert (whole.remove(job), len(uploads(world, job))) == (Look.MOVES, 13)
    for step in range(1, 40):
        ingest = world.process(FaultPlan(step % 7 + 1)).ingest
        left = len(uploads(world, job))
        with suppress(Crash):
            EndedJobs(ingest.ledger, ingest.stores.drop, max_deletions=4).remove(job)
        assert left - len(uploads(world, job)) <= 4
    assert not uploads(world, job)
    assert EndedJobs(world.process().ingest.ledger, world.drop_store).remove(job) is Look.ENDED
    assert not world.table.query(ENDED).rows
