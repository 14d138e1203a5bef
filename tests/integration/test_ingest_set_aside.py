"""Chunks that cannot be stored: builders are killed over them, or find a fault that is ours."""

import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from functions import ingest_build
from ingest_queue.build.sweep import OVERDUE_S
from ingest_queue.jobs.attempts import MAX_ATTEMPTS, SPAN_S
from ingest_queue.jobs.job import Policy, State
from ndlambda import runtime
from ndlambda.errors import UpstreamError
from ndlambda.local.pump import sqs_event
from ndlambda.services.volume.region import Region, object_key
from ndlambda.stores.ports import Overwrite, Range
from tests.support.faults import Crash, Interrupted
from tests.support.ingest_world import OFFSET, IngestWorld, MakeWorld, Process, stack

POISON = 1
"""The chunk over which builders come to harm; slices 16 to 31 (21 to 36 in the dataset)."""

DEPTH = 34
"""Slices of a volume of three chunks."""

VOXELS = stack(1, z=DEPTH)[0]
MINUTES = 60
"""In which a job must come to an end."""


class Poisoned:
    """A drop store whose slices of chunk 1 do harm to whoever reads them wholly."""

    def __init__(self, port: Any, harm: Callable[[], None]) -> None:
        self._port = port
        self._harm = harm

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    def get(self, key: str, byte_range: Any = None, **options: Any) -> Any:
        if byte_range != Range(0, 1) and key.endswith(f"{OFFSET + 20:04d}.png"):
            self._harm()
        return self._port.get(key, byte_range, **options)


def run_out_of_memory() -> None:
    raise Crash


def stumble() -> None:
    message = "a fault that nobody thought of"
    raise RecursionError(message)


def fail_upstream() -> None:
    message = "No space left on device."
    raise UpstreamError(message)


@pytest.fixture
def world(make_world: MakeWorld) -> IngestWorld:
    return make_world({}, depth=DEPTH)


def poisoned(world: IngestWorld, harm: Callable[[], None]) -> Process:
    return world.process(wrap=lambda name, port: Poisoned(port, harm) if name == "drop" else port)


def worker(process: Process) -> SimpleNamespace:
    """Return as much of a runtime as a worker of ingest needs."""
    return SimpleNamespace(ingest=SimpleNamespace(jobs=process.ingest))


def drop_stack(world: IngestWorld, policy: Policy) -> None:
    world.drop("_ingest.json", json.dumps({"on_bad": policy}).encode())
    world.drop_stack(VOXELS[None])


def run(
    world: IngestWorld,
    harm: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    *,
    minutes: int = MINUTES,
    lose: bool = False,
) -> None:
    """Let worker and schedule go on for so long, or until the job has ended."""
    for _ in range(minutes):
        monkeypatch.setattr(runtime, "current", lambda: worker(poisoned(world, harm)))
        while messages := world.builds.receive(1, 900):
            with suppress(Crash):
                answer = ingest_build.handler(sqs_event(list(messages)))
                if not answer["batchItemFailures"]:
                    world.builds.ack([message.receipt for message in messages])
        if not world.state.takes_input:
            return
        world.base.clock.advance(60)
        if lose:
            world.lose_messages()
        world.process().ingest.sweeper.sweep_all()


@pytest.mark.parametrize(
    ("harm", "policy", "lose"),
    [
        pytest.param(run_out_of_memory, Policy.FAIL, True, id="killed-fail-called-again"),
        pytest.param(run_out_of_memory, Policy.ZERO, False, id="killed-zero-returned"),
        pytest.param(run_out_of_memory, Policy.SKIP, True, id="killed-skip-called-again"),
        pytest.param(stumble, Policy.FAIL, False, id="fault-fail-returned"),
        pytest.param(stumble, Policy.ZERO, True, id="fault-zero-called-again"),
    ],
)
def test_a_chunk_over_which_builders_come_to_harm_is_set_aside(
    world: IngestWorld,
    harm: Callable[[], None],
    policy: Policy,
    lose: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    """Whether the message itself comes back or the schedule calls.

    Seen to fail where tries are not counted: the job is INGESTING after an hour, and for ever.
    """
    drop_stack(world, policy)
    run(world, harm, monkeypatch, lose=lose)
    job, ingest = world.job(), world.process().ingest
    faults = list(ingest.faults(job))
    assert {(fault.chunk, fault.part) for fault in faults} == {
        (POISON, z + OFFSET) for z in range(16, 32)
    }
    told = "did not finish" if harm is run_out_of_memory else "RecursionError: a fault"
    assert all(told in fault.error for fault in faults)
    expected = VOXELS.copy()
    expected[16:32] = 0
    np.testing.assert_array_equal(world.stored(), expected)
    if policy is Policy.FAIL:
        assert job.state is State.FAILED
        assert told in job.reason
    else:
        assert job.state is State.COMPLETE_WITH_ERRORS
        assert not list(ingest.verifier.check(job))
    assert world.retry().state is State.INGESTING  # with more memory, or a mended builder
    check_whole(world)


def check_whole(world: IngestWorld, voxels: Any = VOXELS) -> None:
    world.check_whole(voxels)
    assert not list(world.process().ingest.verifier.check(world.job()))


def drop_other(world: IngestWorld) -> Any:
    """Drop another slice of the chunk, and return what is to be stored then."""
    voxels = VOXELS.copy()
    voxels[20] = stack(2)[0, 20]
    world.drop_slice(OFFSET + 20, voxels[20])
    return voxels


def test_a_slice_dropped_again_mends_all_of_a_chunk_that_was_set_aside(
    world: IngestWorld, monkeypatch: pytest.MonkeyPatch
):
    """Seen to fail where the faults of its other slices stay: COMPLETE_WITH_ERRORS."""
    drop_stack(world, Policy.ZERO)
    run(world, run_out_of_memory, monkeypatch)
    assert world.state is State.COMPLETE_WITH_ERRORS
    voxels = drop_other(world)
    world.pump()
    check_whole(world, voxels)


def test_a_supercuboid_that_is_damaged_in_the_store_ends_the_job_at_once(world: IngestWorld):
    """Where the job fills a part of it. Seen to fail where such an error is only logged: the job is
    INGESTING for ever."""
    world.drop("_ingest.json", json.dumps({"extent": {"z": [OFFSET, OFFSET + 9]}}).encode())
    channel = world.base.catalog.get_channel("pr", "em")
    level = world.dataset.pyramid.level(0)
    key = object_key(channel, Region(level, level.box, (0, 1)), 0, 0)
    world.base.objects.put(key, b"no supercuboid", Overwrite())
    world.ingest(stack(1)[:, :9])
    assert world.state is State.FAILED
    assert "Chunk 0 of the job cannot be stored." in world.job().reason


def test_a_store_that_fails_is_no_fault_of_a_chunk_however_often(
    world: IngestWorld, monkeypatch: pytest.MonkeyPatch
):
    """Seen to fail where tries that report what is wrong stay counted."""
    drop_stack(world, Policy.FAIL)
    run(world, fail_upstream, monkeypatch, minutes=(MAX_ATTEMPTS + 3) * int(OVERDUE_S) // 60)
    assert world.state is State.INGESTING
    assert not world.faults()
    world.sweep()
    check_whole(world)


def test_a_server_may_be_killed_ten_times_over_the_same_chunk(world: IngestWorld):
    """All that is being built dies with it, what is sound as well."""
    drop_stack(world, Policy.FAIL)
    job = world.job()
    world.lose_messages()
    for attempt in range(1, MAX_ATTEMPTS + 1):
        with pytest.raises(Crash):
            poisoned(world, run_out_of_memory).ingest.build(job.id, 1, POISON, attempt)
    world.sweep()
    check_whole(world)


def test_a_job_that_only_waits_for_slices_is_not_called_a_failure(world: IngestWorld):
    """Calls that find nothing to do are no tries that came to no end."""
    world.notice(world.put_stack(VOXELS[None])[:20])
    job = world.job()
    for attempt in range(2, 3 * MAX_ATTEMPTS):
        world.process().ingest.build(job.id, 1, POISON, attempt)
    assert world.state is State.INGESTING
    assert world.process().ingest.ledger.attempts(job).begin(POISON, 0) == 1


@pytest.mark.parametrize("policy", [Policy.FAIL, Policy.ZERO])
def test_a_slower_worker_that_stores_the_chunk_after_all_is_believed(
    world: IngestWorld, tmp_path: Path, policy: Policy
):
    """While another sets it aside. Seen to fail where that one does not look again: the job is
    FAILED, or COMPLETE_WITH_ERRORS, over a chunk that is stored."""
    drop_stack(world, policy)
    job = world.job()
    world.lose_messages()
    for _ in range(MAX_ATTEMPTS):
        world.base.clock.advance(SPAN_S)
        with pytest.raises(Crash):
            poisoned(world, run_out_of_memory).ingest.build(job.id, 1, POISON, 2)
    begun = world.base.clock.now + SPAN_S
    for moment, copied in world.copies(tmp_path, range(10, 60, 12)):
        copied.base.clock.now = begun
        slow = Interrupted(moment, partial(copied.build, POISON))
        copied.build(POISON, slow, 2)
        if slow.fired:
            copied.sweep()
            check_whole(copied)


def test_a_chunk_that_was_set_aside_and_mended_may_fail_a_few_times_again(
    world: IngestWorld, monkeypatch: pytest.MonkeyPatch
):
    """Seen to fail where tries stay noted: the next message that came back set it aside at once."""
    drop_stack(world, Policy.ZERO)
    run(world, run_out_of_memory, monkeypatch)
    voxels = drop_other(world)
    with pytest.raises(Crash):
        poisoned(world, run_out_of_memory).ingest.build(world.job().id, 1, POISON, 2)
    world.pump()
    check_whole(world, voxels)
