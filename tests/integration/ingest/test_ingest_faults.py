"""Slices that are unusable, and how they are mended."""

import numpy as np
import pytest

from ingest_queue.build.builder import BuildOptions
from ingest_queue.jobs.digests import ChunkDigests, digests_key
from ingest_queue.jobs.job import Policy, State
from ndlambda.errors import InvalidStateError, QuotaExceededError
from tests.support import catalog_world
from tests.support.faults import Interrupted
from tests.support.ingest_world import FOLDER, OFFSET, png, stack

BAD = 9  # the slice with the fault, in dataset coordinates; it is in chunk 0
NAME = f"{BAD:04d}.png"
DEPTH = 18  # slices of a volume of two chunks, the first of 16
VOXELS = stack(1, z=DEPTH)[0]
CONSUMED = BuildOptions(keep_input=False)
FAULTS = {
    "truncated": lambda plane: png(plane)[:-40],
    "size": lambda plane: png(plane[:, :-1]),
    "dtype": lambda plane: png(plane.astype(np.uint16)),
    "missing": None,
}


def drop_with_fault(world, policy, spoil=FAULTS["truncated"]):
    """Drop a whole stack with one bad slice and ``_DONE``, and build."""
    world.drop("_ingest.json", f'{{"on_bad": "{policy}"}}'.encode())
    for z, plane in enumerate(VOXELS, OFFSET):
        if z != BAD:
            world.drop_slice(z, plane)
        elif spoil is not None:
            world.drop(NAME, spoil(plane))
    world.drop("_DONE", b"")
    world.pump()


def mended():
    return png(VOXELS[BAD - OFFSET])


def digested(world):
    """Return the slices of chunk 0 that have a digest."""
    job = world.job()
    digest = world.process().ingest.ledger.state(job, 0).digest
    stored = world.base.objects.get(digests_key(job.id, 0, digest))
    return ChunkDigests.decode(stored.data).slices


CASES = [(Policy.ZERO, name) for name in FAULTS] + [
    (policy, name) for policy in (Policy.FAIL, Policy.SKIP) for name in ("size", "missing")
]


@pytest.mark.parametrize(("policy", "spoil"), CASES)
def test_a_bad_slice_is_dealt_with_as_asked_and_mended_by_another(world, policy, spoil):
    drop_with_fault(world, policy, FAULTS[spoil])
    job = world.job()
    (fault,) = world.faults()
    assert (fault.chunk, fault.part, bool(fault.key)) == (0, BAD, spoil != "missing")
    if policy is Policy.FAIL:
        assert (job.state, job.reason) == (State.FAILED, fault.error)
    else:
        assert job.state is State.COMPLETE_WITH_ERRORS
        expected = VOXELS.copy()
        expected[BAD - OFFSET] = 0
        np.testing.assert_array_equal(world.stored(), expected)
        assert (BAD in digested(world)) == (policy is Policy.ZERO)
    world.drop(NAME, mended())
    world.sweep()  # chunks that waited while the job had failed
    world.check_whole(VOXELS)
    assert world.job().digest != job.digest
    assert BAD in digested(world)


def test_all_missing_slices_of_a_chunk_are_told_of_at_once(world):
    """Seen to fail: the first alone was named, again and again as each was added."""
    gone, spoilt = (0, 2, 3, 4), 6
    for z, plane in enumerate(VOXELS):
        if z == spoilt:
            world.drop(f"{z + OFFSET:04d}.png", b"no image")
        elif z not in gone:
            world.drop_slice(z + OFFSET, plane)
    world.drop("_DONE", b"")
    world.pump()
    numbers = [z + OFFSET for z in gone]
    assert world.state is State.FAILED
    said = f"Slices {numbers[0]}, {numbers[1]}-{numbers[3]} are missing. {spoilt + OFFSET:04d}.png"
    assert world.job().reason.startswith(said)
    assert [fault.part for fault in world.faults()] == [*numbers, spoilt + OFFSET]
    for z in (*gone, spoilt):
        world.drop_slice(z + OFFSET, VOXELS[z])
    world.sweep()
    world.check_whole(VOXELS)


@pytest.mark.parametrize("policy", [Policy.FAIL, Policy.ZERO])
def test_a_mended_slice_that_was_not_announced_is_found_by_retry(world, policy):
    drop_with_fault(world, policy)
    if policy is Policy.FAIL:
        world.retry()
        assert world.state is State.FAILED, "nothing is mended"
    world.put(NAME, mended())
    assert world.retry().state is State.INGESTING
    world.check_whole(VOXELS)


@pytest.mark.parametrize("name", ["README.txt", "img_final.png", "9999.png", "time0007/0009.png"])
def test_what_is_no_slice_is_listed_and_left_alone(world, name):
    world.drop(name, b"text")
    assert world.ingest(VOXELS[None]).state is State.COMPLETE_WITH_ERRORS
    assert [fault.key for fault in world.faults()] == [FOLDER + name]
    np.testing.assert_array_equal(world.stored(), VOXELS)
    assert world.drop_store.get(FOLDER + name) is not None


def test_a_slice_that_is_gone_again_is_missing_again(world):
    keys = world.drop_stack(VOXELS[None])
    world.drop_store.delete(keys[4])
    world.pump()
    assert next(world.process().ingest.missing(world.job())) == (0, BAD)
    world.put(NAME, mended())  # and it is not announced
    for _ in range(2):  # the folder is listed when nothing is built between two looks
        world.sweep()
    world.check_whole(VOXELS)


def test_a_cancelled_job_stores_nothing_any_more(world):
    """Also in builders under way. Seen to fail without a look at the job before each write."""
    world.drop_stack(VOXELS[None])
    ingest = world.process().ingest
    # The builder has read rows and slices by then and is about to write.
    cancel = Interrupted(8, lambda: ingest.cancel(world.job()))
    world.build(0, cancel)
    assert cancel.fired
    world.pump()
    job = world.job()
    assert (job.state, job.generation) == (State.CANCELLED, 2)
    assert not world.stored().any()
    assert not list(ingest.ledger.running())
    assert ingest.cancel(job) == job
    with pytest.raises(InvalidStateError):
        ingest.registry.retry(job)


def test_a_call_from_before_a_retry_does_nothing(world):
    """Seen to fail where a builder does not compare generations: the job fails again."""
    drop_with_fault(world, Policy.FAIL)
    again = world.process().ingest.registry.retry(world.job())
    world.lose_messages()
    world.process().ingest.build(again.id, again.generation - 1, 0)
    assert world.state is State.INGESTING


def test_a_complete_job_cannot_be_cancelled(world):
    with pytest.raises(InvalidStateError):
        world.process().ingest.cancel(world.ingest(VOXELS[None]))


def test_a_channel_that_became_readonly_fails_the_job_until_it_is_not(world):
    world.drop_stack(VOXELS[None])
    world.base.catalog.update_channel("pr", "em", readonly=True)
    world.pump()
    assert world.state is State.FAILED
    assert "read-only" in world.job().reason
    world.base.catalog.update_channel("pr", "em", readonly=False)
    world.retry()
    assert world.state is State.COMPLETE


def test_a_channel_under_propagation_is_waited_for(world):
    world.drop_stack(VOXELS[None])
    world.base.catalog.update_channel("pr", "em", propagate=1)
    world.pump()
    assert world.state is State.INGESTING
    world.base.catalog.update_channel("pr", "em", propagate=0)
    world.sweep()
    assert world.state is State.COMPLETE


def test_a_job_of_a_channel_that_was_deleted_fails(world):
    world.drop_stack(VOXELS[None])
    world.base.catalog.delete_channel("pr", "em")
    world.base.catalog.create_channel(catalog_world.channel("em", cuboids_per_axis=1))
    world.pump()
    assert world.state is State.FAILED
    assert not world.stored().any()


def test_quotas_of_jobs_and_of_their_bytes(make_world):
    world = make_world({}, limits={"max_user_jobs": 2, "max_job_bytes": 20 * 14 * 43})
    first = world.create(job_id="0" * 16)
    world.create()
    with pytest.raises(QuotaExceededError, match="2 are allowed"):
        world.create()
    assert world.create(job_id="0" * 16) == first  # a repetition is no other job
    world.process().ingest.cancel(first)
    world.create()
    world.limits = {"max_job_bytes": 20 * 14 * 43 - 1}
    with pytest.raises(QuotaExceededError, match="bytes"):
        world.create()


def test_slabs_over_the_memory_bound_are_built_strip_by_strip(make_world):
    """With the same digests as in one piece."""
    dataset = catalog_world.dataset(imagesize_xyz=(20, 300, 5), offset_xyz=(0, 0, OFFSET))
    voxels = np.random.default_rng(9).integers(1, 255, (1, 5, 300, 20)).astype(np.uint8)
    roots = set()
    for strip_bytes in (1 << 20, 1):
        options = BuildOptions(max_strip_bytes=strip_bytes)
        world = make_world({}, dataset=dataset, options=options)
        roots.add(world.ingest(voxels).digest)
        world.check_whole(voxels[0])
    assert len(roots) == 1


@pytest.mark.parametrize("keep", [True, False])
def test_files_are_deleted_only_where_asked_and_stored(make_world, keep):
    world = make_world({}, depth=DEPTH, options=BuildOptions(keep_input=keep))
    drop_with_fault(world, Policy.ZERO)

    def left():
        keys = (info.key for info in world.drop_store.list(FOLDER))
        return {key for key in keys if key.endswith(".png")}

    # All of chunk 0 is needed again when its slice is mended, and by a slower builder that has
    # written the slice that was replaced.
    needed = {f"{FOLDER}{z:04d}.png" for z in range(OFFSET, OFFSET + (DEPTH if keep else 16))}
    assert left() == needed
    world.drop(NAME, mended())
    world.pump()
    np.testing.assert_array_equal(world.stored(), VOXELS)
    assert left() == needed


def test_a_file_that_was_replaced_when_its_chunk_was_stored_is_not_deleted(make_world, monkeypatch):
    """Seen to fail where its ETag is not looked at."""
    world = make_world({}, depth=DEPTH, options=CONSUMED)
    keys = world.drop_stack(VOXELS[None])
    process = world.process()
    drop = process.ingest.stores.drop
    delete = drop.delete

    def replace_first(key):
        if key == keys[0]:
            world.put(NAME, png(stack(2)[0, 0]))
        delete(key)

    monkeypatch.setattr(drop, "delete", replace_first)
    world.pump(process)
    assert [info.key for info in world.drop_store.list(FOLDER)] == [FOLDER + NAME]
