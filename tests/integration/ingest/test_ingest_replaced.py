"""Slices that are mended or dropped again, with zeros where the first had none, at any moment.

Zeros never erase, but what a job has stored of a slice that was replaced is no more than a slice
that was never meant.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from ingest_queue.build.builder import BuildOptions
from ingest_queue.jobs.job import State
from ingest_queue.jobs.keys import etag_of
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.volume.region import Region
from tests.support.faults import Crash, Interrupted, Wrapped
from tests.support.ingest_world import OFFSET, IngestWorld, look_after_all, png, stack

Z = 9  # the slice that is replaced, in dataset coordinates
DEPTH = 20  # slices of a volume of two chunks, the first of 16
LAST = OFFSET + DEPTH - 1
CONSUMED = BuildOptions(keep_input=False)
FIRST = stack(1, z=DEPTH)[0]
SECOND = FIRST.copy()
SECOND[Z - OFFSET, 7:] = 0


@pytest.fixture
def half_stored(world):
    """A job whose first chunk is stored, and of whose second no slice came."""
    world.ingest(FIRST[None, :16])
    return world


@pytest.fixture
def consuming(make_world):
    """A world whose files are deleted when they are stored."""
    return make_world({}, depth=DEPTH, options=CONSUMED)


def drop_again(world, voxels=SECOND):
    world.drop_slice(Z, voxels[Z - OFFSET])


def drop_rest(world, last=LAST):
    """Drop the slices of the second chunk."""
    for z in range(16 + OFFSET, last + 1):
        world.drop_slice(z, FIRST[z - OFFSET])


def fail(world):
    """Let the job fail of its last slice."""
    world.drop(f"{LAST:04d}.png", b"no image")
    drop_rest(world, LAST - 1)
    world.pump()
    assert world.state is State.FAILED


def check_stored(world, voxels, log=None):
    """Make sure that the job is complete and proved, and that these are its voxels."""
    world.pump()
    assert (world.state, world.table.ends) == (State.COMPLETE, 1), log
    world.check_whole(voxels)
    assert not list(world.process().ingest.verifier.check(world.job())), log


@pytest.mark.parametrize(
    "channel",
    [{}, {"channel_type": ChannelType.ANNOTATION, "datatype": DataType.UINT32}],
    ids=["image", "labels"],
)
def test_zeros_of_a_slice_that_was_dropped_again_are_stored(make_world, channel):
    """Seen to fail where a chunk that was opened again is painted over what is there."""
    world = make_world(channel, depth=DEPTH)
    world.ingest(FIRST[None, :16])
    np.testing.assert_array_equal(world.stored()[:16], FIRST[:16])
    drop_again(world)
    drop_rest(world)
    check_stored(world, SECOND)


def test_a_slice_that_is_dropped_again_while_its_job_has_failed_counts(half_stored):
    """Seen to fail where only running jobs open chunks again: the first slice is stored."""
    fail(half_stored)
    drop_again(half_stored)
    assert half_stored.state is State.FAILED
    half_stored.drop_slice(LAST, FIRST[-1])
    check_stored(half_stored, SECOND)


@pytest.mark.parametrize("has_failed", [False, True])
def test_a_slice_that_was_replaced_and_not_announced_is_noticed(half_stored, has_failed):
    """Seen to fail where only keys are compared: the first slice is what is stored."""
    world, store = half_stored, half_stored.drop_store

    def list_with_etags(real, *args):  # as S3 does
        return (replace(info, etag=etag_of(store, info.key)) for info in real(*args))

    world.drop_store = Wrapped(store, list=list_with_etags)
    if has_failed:
        fail(world)
    world.put(f"{Z:04d}.png", png(SECOND[Z - OFFSET]))
    if has_failed:
        world.put(f"{LAST:04d}.png", png(FIRST[-1]))
        world.retry()
    else:
        for _ in range(2):  # the folder is listed when nothing is built between two looks
            look_after_all(world.process().ingest)
        drop_rest(world)
    check_stored(world, SECOND)


def interrupted(world, folder, meanwhile):
    """Build the first chunk in copies of a world, each interrupted before another request.

    The last of them is not interrupted, because its builder makes fewer requests, or only when it
    begins to delete what it has stored.
    """
    for moment, copied in world.copies(folder):
        plan = Interrupted(moment, partial(meanwhile, copied))
        copied.build(0, plan)
        yield copied, plan
        if not plan.fired or plan.log[moment - 1].endswith(".delete"):
            assert moment > 10
            return


def test_a_slice_that_is_mended_while_its_chunk_is_built_counts(make_world, tmp_path):
    """Seen to fail without the second look of builder or intake: the job stays failed."""
    world = make_world({}, depth=6)
    for z, plane in enumerate(FIRST[:6], OFFSET):
        world.drop(f"{z:04d}.png", png(plane)[: -40 if z == Z else None])
    for mended, plan in interrupted(world, tmp_path, partial(drop_again, voxels=FIRST)):
        mended.pump()
        mended.sweep()
        if plan.fired:
            check_stored(mended, FIRST[:6], plan.log)
        else:
            assert mended.state is State.FAILED


@pytest.mark.parametrize(
    ("stored", "options"),
    [(False, BuildOptions()), (True, BuildOptions()), (True, CONSUMED)],
    ids=["announced", "stored by another", "stored and deleted by another"],
)
def test_a_slice_that_is_replaced_while_its_chunk_is_built_counts(
    make_world, tmp_path, stored, options
):
    """Seen to fail where no chunk is opened again, or a loser does not write again."""

    def overtake(overtaken):
        drop_again(overtaken)
        if stored:
            overtaken.pump()

    world = make_world({}, depth=DEPTH, options=options)
    world.drop_stack(FIRST[None])
    for overtaken, plan in interrupted(world, tmp_path, overtake):
        if not plan.fired:
            overtake(overtaken)
        check_stored(overtaken, SECOND, plan.log)


def test_what_is_entered_is_what_was_read(world, tmp_path):
    """Seen to fail where the builder does not look at the ETag of a file that was overwritten."""
    world.drop_stack(FIRST[None])
    world.build(1)
    body = png(SECOND[Z - OFFSET])
    for late, plan in interrupted(world, tmp_path, lambda copied: copied.put(f"{Z:04d}.png", body)):
        part = late.process().ingest.ledger.part(late.job(), 0, Z)
        is_second = plan.fired and part.etag == etag_of(late.drop_store, part.key)
        assert late.state is State.COMPLETE
        check_stored(late, SECOND if is_second else FIRST, plan.log)


def test_a_builder_whose_parts_another_has_stored_and_deleted_finds_no_fault(consuming, tmp_path):
    """Seen to fail where faults are not doubted when the chunk has changed: the job fails."""
    consuming.drop_stack(FIRST[None])
    consuming.drop("_DONE", b"")
    for late, plan in interrupted(consuming, tmp_path, IngestWorld.build):
        check_stored(late, FIRST, plan.log)


def test_a_builder_that_dies_over_voxels_of_a_replaced_slice_is_found_by_verify(world):
    """The one order of things that nothing mends."""
    world.drop_stack(FIRST[None])
    builder = world.process()
    writer = builder.ingest._builder._composer._writer

    def overtaken(write, *args, **options):
        drop_again(world)
        world.pump()
        assert world.state is State.COMPLETE
        write(*args, **options)
        raise Crash

    writer.write = partial(overtaken, writer.write)
    with pytest.raises(Crash):
        builder.ingest.build(world.job().id, 1, 0)
    np.testing.assert_array_equal(world.stored(), FIRST)
    found = list(world.process().ingest.verifier.check(world.job()))
    assert {difference.chunk for difference in found} == {0}


def test_what_others_painted_beside_a_chunk_that_is_stored_again_stays(world):
    """The other chunk holds voxels of somebody else, where the job has zeros."""
    first, second = FIRST.copy(), SECOND.copy()
    first[16:, :, :5] = second[16:, :, :5] = 0
    others = np.zeros((1, DEPTH, 14, 20), np.uint8)
    others[:, 16:, :, :5] = 77
    process, level = world.process(), world.dataset.pyramid.level(0)
    channel = process.catalog.get_channel("pr", "em")
    process.volume.write(channel, Region(level, level.box, (0, 1)), others)
    world.ingest(first[None, :16])
    drop_again(world)
    for z in range(16, DEPTH):
        world.drop_slice(z + OFFSET, first[z])
    world.pump()
    assert world.state is State.COMPLETE
    np.testing.assert_array_equal(world.stored(), second + others[0])


def test_all_slices_of_a_chunk_that_were_deleted_are_missing_at_once(consuming):
    """Seen to fail where only the first that is gone counts: each was asked for alone."""
    consuming.ingest(FIRST[None, :16])
    drop_again(consuming)
    consuming.pump()
    missing = [z for _, z in consuming.process().ingest.missing(consuming.job())]
    assert missing == [z for z in range(OFFSET, LAST + 1) if z != Z]
    consuming.ingest(SECOND[None])
    check_stored(consuming, SECOND)


def test_a_slice_that_is_dropped_again_does_not_erase_those_that_were_stored_and_deleted(consuming):
    """Seen to fail where zeros in the place of slices that are gone are stored."""
    consuming.drop("_ingest.json", b'{"on_bad": "zero"}')
    job = consuming.ingest(FIRST[None, :16])
    consuming.process().ingest.registry.close(job)
    second = SECOND.copy()
    second[Z - OFFSET, :7] += 1
    drop_again(consuming, second)
    consuming.pump()
    assert consuming.state is State.COMPLETE_WITH_ERRORS
    expected = np.where(second[:16], second[:16], FIRST[:16])
    np.testing.assert_array_equal(consuming.stored()[:16], expected)
    faults = {fault.part for fault in consuming.faults()}
    assert faults >= {z + OFFSET for z in range(16) if z + OFFSET != Z}
