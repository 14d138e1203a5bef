"""Slices that are no use, and how they are mended."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest_queue.build.builder import BuildOptions
from ingest_queue.jobs.digests import ChunkDigests, digests_key
from ingest_queue.jobs.job import Job, Policy, State
from ndlambda.errors import InvalidStateError, QuotaExceededError
from tests.support import catalog_world
from tests.support.faults import Interrupted
from tests.support.ingest_world import (
    FOLDER,
    OFFSET,
    IngestWorld,
    disk_ingest_world,
    png,
    stack,
)

BAD = 9
"""The slice with the fault, in dataset coordinates; it is in chunk 0."""

THIN = 6
"""Slices of a volume of one chunk."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IngestWorld]:
    made = disk_ingest_world(tmp_path)
    yield made
    made.close()


def thin_world(folder: Path) -> IngestWorld:
    """Return a world with a channel of one chunk."""
    size = (20, 14, THIN)
    dataset = catalog_world.dataset(imagesize_xyz=size, offset_xyz=(0, 0, OFFSET))
    made = disk_ingest_world(folder, dataset=dataset)
    made.populate()
    return made


def truncated(plane: Any) -> bytes:
    return png(plane)[:-40]


def other_size(plane: Any) -> bytes:
    return png(plane[:, :-1])


def other_dtype(plane: Any) -> bytes:
    return png(plane.astype(np.uint16))


FAULTS = {"truncated": truncated, "size": other_size, "dtype": other_dtype, "missing": None}


def drop_with_fault(world: IngestWorld, policy: Policy, spoil: Callable | None) -> Any:
    """Drop a whole stack with one bad slice and ``_DONE``, and build; give the right voxels."""
    world.populate()
    world.drop("_ingest.json", f'{{"on_bad": "{policy}"}}'.encode())
    voxels = stack(1)[0]
    for z, plane in enumerate(voxels, OFFSET):
        if z != BAD:
            world.drop(f"{z:04d}.png", png(plane))
        elif spoil is not None:
            world.drop(f"{z:04d}.png", spoil(plane))
    world.drop("_DONE", b"")
    world.pump()
    return voxels


def digests(world: IngestWorld, job: Job) -> ChunkDigests:
    digest = world.process().ingest.ledger.state(job, 0).digest
    stored = world.base.objects.get(digests_key(job.id, 0, digest))
    assert stored is not None
    return ChunkDigests.decode(stored.data)


@pytest.mark.parametrize("spoil", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("policy", Policy)
def test_a_bad_slice_is_dealt_with_as_asked_and_mended_by_another(
    world: IngestWorld, policy: Policy, spoil: Callable | None
):
    voxels = drop_with_fault(world, policy, spoil)
    job = world.job()
    (fault,) = world.process().ingest.faults(job)
    assert (fault.chunk, fault.part) == (0, BAD)
    assert bool(fault.key) == (spoil is not None)
    if policy is Policy.FAIL:
        assert job.state is State.FAILED
        assert job.reason == fault.error
    else:
        assert job.state is State.COMPLETE_WITH_ERRORS
        expected = voxels.copy()
        expected[BAD - OFFSET] = 0
        np.testing.assert_array_equal(world.stored(), expected)
        assert (BAD in digests(world, job).slices) == (policy is Policy.ZERO)
    world.drop(f"{BAD:04d}.png", png(voxels[BAD - OFFSET]))
    world.process().ingest.sweeper.sweep_all()  # chunks that waited while the job had failed
    world.pump()
    mended = world.job()
    assert mended.state is State.COMPLETE
    assert not list(world.process().ingest.faults(mended))
    np.testing.assert_array_equal(world.stored(), voxels)
    assert mended.digest != job.digest
    assert BAD in digests(world, mended).slices


@pytest.mark.parametrize("policy", [Policy.FAIL, Policy.ZERO])
def test_a_mended_slice_that_nobody_was_told_of_is_found_by_retry(
    world: IngestWorld, policy: Policy
):
    voxels = drop_with_fault(world, policy, truncated)
    world.put(f"{BAD:04d}.png", png(voxels[BAD - OFFSET]))
    again = world.process().ingest.registry.retry(world.job())
    assert again.state is State.INGESTING
    world.pump()
    assert world.job().state is State.COMPLETE
    np.testing.assert_array_equal(world.stored(), voxels)


def test_a_retry_without_mending_fails_again(world: IngestWorld):
    drop_with_fault(world, Policy.FAIL, truncated)
    world.process().ingest.registry.retry(world.job())
    world.pump()
    assert world.job().state is State.FAILED


@pytest.mark.parametrize("name", ["README.txt", "img_final.png", "9999.png", "time0007/0009.png"])
def test_what_is_no_slice_is_listed_and_left_alone(world: IngestWorld, name: str):
    world.populate()
    keys = world.put_stack(stack(2))
    world.drop(name, b"text")
    world.notice(keys)
    world.pump()
    job = world.job()
    assert job.state is State.COMPLETE_WITH_ERRORS
    assert [fault.key for fault in world.process().ingest.faults(job)] == [FOLDER + name]
    np.testing.assert_array_equal(world.stored(), stack(2)[0])
    assert world.drop_store.get(FOLDER + name) is not None


@pytest.mark.parametrize("moment", range(1, 24))
def test_a_slice_that_is_mended_while_its_chunk_is_built_counts(tmp_path: Path, moment: int):
    """At any request of the builder. Seen to fail without the second look of builder or intake:
    the job stays failed though nothing is wrong."""
    world = thin_world(tmp_path)
    voxels = stack(3, z=THIN)[0]
    for z, plane in enumerate(voxels, OFFSET):
        world.drop(f"{z:04d}.png", truncated(plane) if z == BAD else png(plane))
    mend = Interrupted(moment, lambda: world.drop(f"{BAD:04d}.png", png(voxels[BAD - OFFSET])))
    world.process(mend).ingest.build(world.job().id, 1, 0)
    world.pump()
    world.process().ingest.sweeper.sweep_all()
    world.pump()
    if mend.fired:
        assert world.job().state is State.COMPLETE, mend.log
        assert not list(world.process().ingest.faults(world.job())), mend.log
        np.testing.assert_array_equal(world.stored(), voxels)
    else:
        assert world.job().state is State.FAILED
    world.close()


@pytest.mark.parametrize("moment", range(1, 28))
def test_a_slice_that_is_replaced_while_its_chunk_is_built_counts(tmp_path: Path, moment: int):
    """A copy that was read half-way, say. Seen to fail where the intake does not open the
    chunk again that was stored meanwhile."""
    world = thin_world(tmp_path)
    voxels = stack(4, z=THIN)[0]
    half = voxels[BAD - OFFSET].copy()
    half[7:] = 0
    for z, plane in enumerate(voxels, OFFSET):
        world.drop(f"{z:04d}.png", png(half if z == BAD else plane))
    replace = Interrupted(moment, lambda: world.drop(f"{BAD:04d}.png", png(voxels[BAD - OFFSET])))
    world.process(replace).ingest.build(world.job().id, 1, 0)
    if not replace.fired:
        replace.interrupt()
    world.pump()
    assert world.job().state is State.COMPLETE
    np.testing.assert_array_equal(world.stored(), voxels)
    world.close()


def test_a_slice_that_is_gone_again_is_missing_again(world: IngestWorld):
    world.populate()
    keys = world.put_stack(stack(5))
    world.notice(keys)
    world.drop_store.delete(keys[4])
    world.pump()
    ingest = world.process().ingest
    assert next(ingest.missing(world.job())) == (0, BAD)
    world.put(f"{BAD:04d}.png", png(stack(5)[0, BAD - OFFSET]))  # and nobody is told
    ingest.sweeper.sweep_all()
    world.pump()
    assert world.job().state is State.COMPLETE
    np.testing.assert_array_equal(world.stored(), stack(5)[0])


def test_a_cancelled_job_stores_nothing_any_more(world: IngestWorld):
    """Also in builders under way. Seen to fail without a look at the job before each write."""
    world.populate()
    world.notice(world.put_stack(stack(6)))
    ingest = world.process().ingest
    number = 8  # the builder has read rows and slices by then and is about to write

    cancel = Interrupted(number, lambda: ingest.cancel(world.job()))
    world.process(cancel).ingest.build(world.job().id, 1, 0)
    assert cancel.fired
    world.pump()
    job = world.job()
    assert (job.state, job.generation) == (State.CANCELLED, 2)
    assert not world.stored().any()
    assert not list(ingest.ledger.running())
    assert ingest.cancel(job) == job
    with pytest.raises(InvalidStateError):
        ingest.registry.retry(job)


def test_a_call_from_before_a_retry_does_nothing(world: IngestWorld):
    """Seen to fail where a builder does not compare generations: the job fails again."""
    drop_with_fault(world, Policy.FAIL, truncated)
    again = world.process().ingest.registry.retry(world.job())
    world.lose_messages()
    world.process().ingest.build(again.id, again.generation - 1, 0)
    assert world.job().state is State.INGESTING


def test_a_complete_job_cannot_be_cancelled(world: IngestWorld):
    world.populate()
    world.notice(world.put_stack(stack(7)))
    world.pump()
    with pytest.raises(InvalidStateError):
        world.process().ingest.cancel(world.job())


def test_a_channel_that_became_readonly_fails_the_job_until_it_is_not(world: IngestWorld):
    world.populate()
    world.notice(world.put_stack(stack(8)))
    world.base.catalog.update_channel("pr", "em", readonly=True)
    world.pump()
    assert world.job().state is State.FAILED
    assert "read-only" in world.job().reason
    world.base.catalog.update_channel("pr", "em", readonly=False)
    world.process().ingest.registry.retry(world.job())
    world.pump()
    assert world.job().state is State.COMPLETE


def test_a_channel_under_propagation_is_waited_for(world: IngestWorld):
    world.populate()
    world.notice(world.put_stack(stack(8)))
    world.base.catalog.update_channel("pr", "em", propagate=1)
    world.pump()
    assert world.job().state is State.INGESTING
    world.base.catalog.update_channel("pr", "em", propagate=0)
    world.process().ingest.sweeper.sweep_all()
    world.pump()
    assert world.job().state is State.COMPLETE


def test_a_job_of_a_channel_that_was_deleted_fails(world: IngestWorld):
    world.populate()
    world.notice(world.put_stack(stack(8)))
    world.base.catalog.delete_channel("pr", "em")
    world.base.catalog.create_channel(catalog_world.channel("em", cuboids_per_axis=1))
    world.pump()
    assert world.job().state is State.FAILED
    assert not world.stored().any()


def test_quotas(tmp_path: Path):
    world = disk_ingest_world(tmp_path, limits={"max_user_jobs": 2, "max_job_bytes": 20 * 14 * 43})
    world.populate()
    first = world.create(job_id="0" * 16)
    world.create()
    with pytest.raises(QuotaExceededError, match="2 are allowed"):
        world.create()
    assert world.create(job_id="0" * 16) == first  # a repetition is no other job
    world.process().ingest.cancel(first)
    world.create()
    world.close()


def test_a_job_over_the_quota_of_bytes_is_refused(tmp_path: Path):
    world = disk_ingest_world(tmp_path, limits={"max_job_bytes": 20 * 14 * 43 - 1})
    world.populate()
    with pytest.raises(QuotaExceededError, match="bytes"):
        world.create()
    world.close()


def test_slabs_over_the_memory_bound_are_built_strip_by_strip(tmp_path: Path):
    """With the same digests as in one piece."""
    dataset = catalog_world.dataset(imagesize_xyz=(20, 300, 5), offset_xyz=(0, 0, OFFSET))
    voxels = np.random.default_rng(9).integers(1, 255, (1, 5, 300, 20)).astype(np.uint8)
    roots = set()
    for name, strip_bytes in (("whole", 1 << 20), ("strips", 1)):
        world = disk_ingest_world(
            tmp_path / name, dataset=dataset, options=BuildOptions(max_strip_bytes=strip_bytes)
        )
        world.populate()
        world.notice(world.put_stack(voxels))
        world.pump()
        np.testing.assert_array_equal(world.stored(), voxels[0])
        roots.add(world.job().digest)
        world.close()
    assert len(roots) == 1


@pytest.mark.parametrize("keep", [True, False])
def test_files_are_deleted_only_where_asked_and_stored(tmp_path: Path, keep: bool):
    world = disk_ingest_world(tmp_path, options=BuildOptions(keep_input=keep))
    drop_with_fault(world, Policy.ZERO, truncated)
    left = {info.key for info in world.drop_store.list(FOLDER) if info.key.endswith(".png")}
    if keep:
        assert len(left) == 43
    else:  # all of chunk 0 is needed again when its slice is mended
        assert left == {f"{FOLDER}{z:04d}.png" for z in range(OFFSET, OFFSET + 16)}
        world.drop(f"{BAD:04d}.png", png(stack(1)[0, BAD - OFFSET]))
        world.pump()
        np.testing.assert_array_equal(world.stored(), stack(1)[0])
        # and by a slower builder that has written the slice that was replaced
        assert left == {i.key for i in world.drop_store.list(FOLDER) if i.key.endswith(".png")}
    world.close()


def test_a_file_that_was_replaced_when_its_chunk_was_stored_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Seen to fail where its ETag is not looked at."""
    world = disk_ingest_world(tmp_path, options=BuildOptions(keep_input=False))
    world.populate()
    keys = world.put_stack(stack(1))
    world.notice(keys)
    process = world.process()
    drop = process.ingest.stores.drop
    delete = drop.delete

    def replace_first(key: str) -> None:
        if key == keys[0]:
            world.put(f"{BAD:04d}.png", png(stack(2)[0, 0]))
        delete(key)

    monkeypatch.setattr(drop, "delete", replace_first)
    world.pump(process)
    assert [info.key for info in world.drop_store.list(FOLDER)] == [f"{FOLDER}{BAD:04d}.png"]
    world.close()
