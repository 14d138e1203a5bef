"""Chunks that cannot be stored: builders are killed over them, or find a fault that is ours."""

import json
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from functions import ingest_build
from ingest_queue.jobs.attempts import MAX_ATTEMPTS, SPAN_S
from ingest_queue.jobs.job import Policy, State
from ndlambda import runtime
from ndlambda.errors import UpstreamError
from ndlambda.local.pump import sqs_event
from ndlambda.services.volume.region import Region, object_key
from ndlambda.settings import Settings
from ndlambda.stores.ports import Overwrite, Range
from tests.support.faults import Crash, Interrupted, Wrapped
from tests.support.ingest_world import OFFSET, look_after_all, stack

POISON = 1  # the chunk over which builders come to harm: slices 16 to 31, 21 to 36 in the dataset
DEPTH = 34  # slices of a volume of three chunks
VOXELS = stack(1, z=DEPTH)[0]
STUMBLE, FULL = RecursionError("a fault that nobody thought of"), UpstreamError("No space left.")


def poisoned(world, harm):
    """Return a process whose store does harm to what reads a slice of the chunk wholly."""

    def get(get, key, byte_range=None, **options):
        if byte_range != Range(0, 1) and key.endswith(f"{OFFSET + 20:04d}.png"):
            raise harm
        return get(key, byte_range, **options)

    return world.process(wrap=lambda name, port: Wrapped(port, get=get) if name == "drop" else port)


def killed_over(world, *call):
    with pytest.raises(Crash):
        poisoned(world, Crash).ingest.build(world.job().id, 1, POISON, *call)


def drop_stack(world, policy):
    world.drop("_ingest.json", json.dumps({"on_bad": policy}).encode())
    world.drop_stack(VOXELS[None])


def drop_other(world):
    """Drop another slice of the chunk, and return what is to be stored then."""
    voxels = VOXELS.copy()
    voxels[20] = stack(2)[0, 20]
    world.drop_slice(OFFSET + 20, voxels[20])
    return voxels


def run(world, harm, monkeypatch, *, minutes=60, lose=False):
    """Let worker and schedule go on for so long, or until the job has ended."""
    for _ in range(minutes):
        ingest = SimpleNamespace(jobs=poisoned(world, harm).ingest)
        worker = SimpleNamespace(ingest=ingest, settings=Settings())
        monkeypatch.setattr(runtime, "current", lambda worker=worker: worker)
        while messages := world.builds.receive(1, 900):
            with suppress(Crash, RecursionError, UpstreamError):
                ingest_build.handler(sqs_event(list(messages)))
                world.builds.ack([message.receipt for message in messages])
        if not world.state.takes_input:
            return
        world.base.clock.advance(60)
        if lose:
            world.lose_messages()
        look_after_all(world.process().ingest)


def check_whole(world, voxels=VOXELS):
    world.pump()
    world.check_whole(voxels)
    assert not list(world.process().ingest.verifier.check(world.job()))


@pytest.mark.parametrize(
    ("harm", "policy", "lose"),
    [
        pytest.param(Crash(), Policy.FAIL, True, id="killed-fail-called-again"),
        pytest.param(Crash(), Policy.ZERO, False, id="killed-zero-returned"),
        pytest.param(Crash(), Policy.SKIP, True, id="killed-skip-called-again"),
        pytest.param(STUMBLE, Policy.FAIL, False, id="fault-fail-returned"),
        pytest.param(STUMBLE, Policy.ZERO, True, id="fault-zero-called-again"),
    ],
)
def test_a_chunk_over_which_builders_come_to_harm_is_set_aside(
    world, harm, policy, lose, monkeypatch
):
    """Seen to fail where tries are not counted: the job is INGESTING for ever."""
    drop_stack(world, policy)
    run(world, harm, monkeypatch, lose=lose)
    job, faults = world.job(), world.faults()
    assert {(each.chunk, each.part) for each in faults} == {
        (POISON, z + OFFSET) for z in range(16, 32)
    }
    told = "RecursionError: a fault" if harm is STUMBLE else "did not finish"
    assert all(told in fault.error for fault in faults)
    expected = VOXELS.copy()
    expected[16:32] = 0
    np.testing.assert_array_equal(world.stored(), expected)
    if policy is Policy.FAIL:
        assert job.state is State.FAILED
        assert told in job.reason
    else:
        assert job.state is State.COMPLETE_WITH_ERRORS
        assert not list(world.process().ingest.verifier.check(job))
    assert world.retry().state is State.INGESTING  # with more memory, or a mended builder
    check_whole(world)


@pytest.mark.parametrize("dies_once_more", [False, True])
def test_a_slice_dropped_again_mends_all_of_a_chunk_that_was_set_aside(
    world, monkeypatch, dies_once_more
):
    """Seen to fail where faults of its other slices stay, and where tries stay counted."""
    drop_stack(world, Policy.ZERO)
    run(world, Crash(), monkeypatch)
    assert world.state is State.COMPLETE_WITH_ERRORS
    voxels = drop_other(world)
    if dies_once_more:
        killed_over(world, 2)
    check_whole(world, voxels)


def test_a_supercuboid_that_is_damaged_in_the_store_ends_the_job_at_once(world):
    """Seen to fail where such an error is only logged: the job is INGESTING for ever."""
    world.drop("_ingest.json", json.dumps({"extent": {"z": [OFFSET, OFFSET + 9]}}).encode())
    channel, level = world.base.catalog.get_channel("pr", "em"), world.dataset.pyramid.level(0)
    key = object_key(channel, Region(level, level.box, (0, 1)), 0, 0)
    world.base.objects.put(key, b"no supercuboid", Overwrite())
    job = world.ingest(stack(1)[:, :9])
    assert job.state is State.FAILED
    assert "Chunk 0 of the job cannot be stored." in job.reason


@pytest.mark.parametrize("policy", Policy)
def test_a_store_that_fails_is_no_fault_of_a_chunk_but_ends_the_job(world, policy, monkeypatch):
    """Seen to fail where its error quarantines the chunk, and where it is raised for ever."""
    drop_stack(world, policy)
    run(world, FULL, monkeypatch)
    assert (world.state, world.faults()) == (State.FAILED, [])
    assert "No space left" in world.job().reason
    assert world.retry().state is State.INGESTING
    check_whole(world)


def test_a_server_may_be_killed_ten_times_over_the_same_chunk(world):
    """All that is being built dies with it, what is sound as well."""
    drop_stack(world, Policy.FAIL)
    world.lose_messages()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        killed_over(world, attempt)
    world.sweep()
    check_whole(world)


def test_a_job_that_only_waits_for_slices_is_not_called_a_failure(world):
    """Calls that find nothing to do are not unfinished attempts."""
    world.notice(world.put_stack(VOXELS[None])[:20])
    for attempt in range(2, 3 * MAX_ATTEMPTS):
        world.build(POISON, attempt=attempt)
    assert world.state is State.INGESTING
    assert world.process().ingest.ledger.attempts(world.job()).begin(POISON, 0) == 1


@pytest.mark.parametrize("policy", [Policy.FAIL, Policy.ZERO])
def test_a_slower_worker_that_stores_the_chunk_after_all_is_believed(world, tmp_path, policy):
    """Seen to fail where the one that sets the chunk aside does not look again."""
    drop_stack(world, policy)
    world.lose_messages()
    for _ in range(MAX_ATTEMPTS):
        world.base.clock.advance(SPAN_S)
        killed_over(world, 2)
    begun = world.base.clock.now + SPAN_S
    for moment, copied in world.copies(tmp_path, range(10, 60, 12)):
        copied.base.clock.now = begun
        slow = Interrupted(moment, partial(copied.build, POISON))
        copied.build(POISON, slow, 2)
        if slow.fired:
            copied.sweep()
            check_whole(copied)
