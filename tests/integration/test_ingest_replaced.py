"""Slices that are mended or dropped again, with zeros where the first had none, at any moment.

Zeros never erase, but what a job has stored of a slice that was replaced is no more than a slice
that was never meant.
"""

from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
import pytest

from ingest_queue.build.builder import BuildOptions
from ingest_queue.jobs.job import State
from ingest_queue.jobs.keys import etag_of
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.volume.region import Region
from ndlambda.stores.ports import ObjectStore
from tests.support.faults import Crash, Interrupted
from tests.support.ingest_world import OFFSET, IngestWorld, png, stack

Z = 9  # The slice that is replaced, in dataset coordinates
DEPTH = 20  # Slices of a volume of two chunks, the first of 16
LAST = OFFSET + DEPTH - 1
CONSUMED = BuildOptions(keep_input=False)
FIRST = stack(1, z=DEPTH)[0]
SECOND = FIRST.copy()
SECOND[Z - OFFSET, 7:] = 0


class ListingEtags:
    """A store on files that lists ETags, as S3 does."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def list(self, prefix, after=""):
        for info in self._store.list(prefix, after):
            yield replace(info, etag=etag_of(self._store, info.key))


@pytest.fixture
def world(make_world):
    return make_world({}, depth=DEPTH)


@pytest.fixture
def half_stored(world):
    """A job whose first chunk is stored, and of whose second no slice came."""
    world.ingest(FIRST[None, :16])
    return world


def drop_again(world, voxels=SECOND):
    world.drop_slice(Z, voxels[Z - OFFSET])


def drop_rest(world, last=LAST):
    for z in range(16 + OFFSET, last + 1):
        world.drop_slice(z, FIRST[z - OFFSET])


def fail(world):
    world.drop(f"{LAST:04d}.png", b"no image")
    drop_rest(world, LAST - 1)
    world.pump()
    assert world.state is State.FAILED


def check_stored(world, voxels, log=None):
    """Make sure that the job is complete and proved, and that these are its voxels."""
    assert (world.state, world.table.completions) == (State.COMPLETE, 1), log
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
    world.pump()
    check_stored(world, SECOND)


def test_a_slice_that_is_dropped_again_while_its_job_has_failed_counts(half_stored):
    """Seen to fail where only running jobs open chunks again: the first slice is stored."""
    fail(half_stored)
    drop_again(half_stored)
    assert half_stored.state is State.FAILED
    half_stored.drop_slice(LAST, FIRST[-1])
    half_stored.pump()
    check_stored(half_stored, SECOND)


@pytest.mark.parametrize("has_failed", [False, True])
def test_a_slice_that_was_replaced_and_not_announced_is_noticed(half_stored, has_failed):
    """Seen to fail where only keys are compared: the first slice is what is stored."""
    world = half_stored
    world.drop_store = cast(ObjectStore, ListingEtags(world.drop_store))
    if has_failed:
        fail(world)
    world.put(f"{Z:04d}.png", png(SECOND[Z - OFFSET]))
    if has_failed:
        world.put(f"{LAST:04d}.png", png(FIRST[-1]))
        world.retry()
    else:
        world.process().ingest.sweeper.sweep_all()
        drop_rest(world)
        world.pump()
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
        overtaken.pump()
        check_stored(overtaken, SECOND, plan.log)


def test_what_is_entered_is_what_was_read(world, tmp_path):
    """Seen to fail where the builder does not look at the ETag of a file that was overwritten."""
    world.drop_stack(FIRST[None])
    world.build(1)
    body = png(SECOND[Z - OFFSET])
    for late, plan in interrupted(world, tmp_path, lambda copied: copied.put(f"{Z:04d}.png", body)):
        part = late.process().ingest.ledger.part(late.job(), 0, Z)
        is_second = plan.fired and part.etag == etag_of(late.drop_store, part.key)
        check_stored(late, SECOND if is_second else FIRST, plan.log)


def test_a_builder_whose_parts_another_has_stored_and_deleted_finds_no_fault(make_world, tmp_path):
    """Seen to fail where faults are not doubted when the chunk has changed: the job fails."""
    world = make_world({}, depth=DEPTH, options=CONSUMED)
    world.drop_stack(FIRST[None])
    world.drop("_DONE", b"")
    for late, plan in interrupted(world, tmp_path, IngestWorld.build):
        late.pump()
        check_stored(late, FIRST, plan.log)


def test_a_builder_that_dies_over_voxels_of_a_replaced_slice_is_found_by_verify(world):
    """The one order of things that nothing mends."""
    world.drop_stack(FIRST[None])

    def overtaken(write, *args, **options):
        drop_again(world)
        world.pump()
        assert world.state is State.COMPLETE
        write(*args, **options)
        raise Crash

    builder = world.process()
    writer = builder.ingest._builder._composer._writer
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
    process = world.process()
    level = world.dataset.pyramid.level(0)
    channel = process.catalog.get_channel("pr", "em")
    process.volume.write(channel, Region(level, level.box, (0, 1)), others)
    world.ingest(first[None, :16])
    drop_again(world)
    for z in range(16, DEPTH):
        world.drop_slice(z + OFFSET, first[z])
    world.pump()
    assert world.state is State.COMPLETE
    np.testing.assert_array_equal(world.stored(), second + others[0])


def test_all_slices_of_a_chunk_that_were_deleted_are_missing_at_once(make_world):
    """Seen to fail where only the first that is gone counts: each was asked for alone."""
    world = make_world({}, depth=DEPTH, options=CONSUMED)
    world.ingest(FIRST[None, :16])
    drop_again(world)
    world.pump()
    missing = [z for _, z in world.process().ingest.missing(world.job())]
    assert missing == [z for z in range(OFFSET, LAST + 1) if z != Z]
    world.ingest(SECOND[None])
    check_stored(world, SECOND)


def test_a_slice_that_is_dropped_again_does_not_erase_those_that_were_stored_and_deleted(
    make_world,
):
    """Seen to fail where zeros in the place of slices that are gone are stored."""
    world = make_world({}, depth=DEPTH, options=CONSUMED)
    world.drop("_ingest.json", b'{"on_bad": "zero"}')
    job = world.ingest(FIRST[None, :16])
    world.process().ingest.registry.close(job)
    second = SECOND.copy()
    second[Z - OFFSET, :7] += 1
    drop_again(world, second)
    world.pump()
    assert world.state is State.COMPLETE_WITH_ERRORS
    expected = np.where(second[:16], second[:16], FIRST[:16])
    np.testing.assert_array_equal(world.stored()[:16], expected)
    faults = {fault.part for fault in world.faults()}
    assert faults >= {z + OFFSET for z in range(16) if z + OFFSET != Z}
