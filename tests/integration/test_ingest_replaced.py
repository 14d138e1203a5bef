"""Slices that are dropped once more, with zeros where the first had none.

Zeros never erase, but what a job has stored of a slice that was replaced is no more than a slice
that was never meant.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest_queue.build.builder import BuildOptions
from ingest_queue.jobs.job import State
from ingest_queue.jobs.keys import etag_of
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.volume.region import Region
from ndlambda.stores.ports import ObjectInfo, ObjectStore
from tests.support import catalog_world
from tests.support.faults import Crash, Interrupted
from tests.support.ingest_world import OFFSET, IngestWorld, Process, disk_ingest_world, png, stack


class ListingEtags:
    """A store on files that lists ETags, as S3 does."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        for info in self._store.list(prefix, after):
            yield replace(info, etag=etag_of(self._store, info.key))


Z = 9
"""The slice that is replaced, in dataset coordinates."""

DEPTH = 20
"""Slices of a volume of two chunks, the first of 16."""


def make_world(folder: Path, **channel: Any) -> IngestWorld:
    dataset = catalog_world.dataset(imagesize_xyz=(20, 14, DEPTH), offset_xyz=(0, 0, OFFSET))
    made = disk_ingest_world(folder, dataset=dataset)
    made.populate(**channel)
    return made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IngestWorld]:
    made = make_world(tmp_path)
    yield made
    made.close()


def with_zeros(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return a stack whose slice ``Z`` is zero in its lower half."""
    other = voxels.copy()
    other[Z - OFFSET, 7:] = 0
    return other


def drop_all(world: IngestWorld, voxels: NDArray[Any]) -> None:
    for z, plane in enumerate(voxels, OFFSET):
        world.drop(f"{z:04d}.png", png(plane))


def drop_again(world: IngestWorld, voxels: NDArray[Any]) -> None:
    world.drop(f"{Z:04d}.png", png(voxels[Z - OFFSET]))


def check_stored(world: IngestWorld, voxels: NDArray[Any]) -> None:
    """Make sure that the job is complete and proved, and that these are its voxels."""
    job = world.job()
    assert (job.state, world.table.completions) == (State.COMPLETE, 1)
    np.testing.assert_array_equal(world.stored(), voxels)
    assert not list(world.process().ingest.verifier.check(job))


@pytest.mark.parametrize(
    "channel",
    [{}, {"channel_type": ChannelType.ANNOTATION, "datatype": DataType.UINT32}],
    ids=["image", "labels"],
)
def test_zeros_of_a_slice_that_was_dropped_again_are_stored(tmp_path: Path, channel: Any):
    """Seen to fail where a chunk that was opened again is painted over what is there."""
    world = make_world(tmp_path, **channel)
    first = stack(1, z=DEPTH)[0]
    second = with_zeros(first)
    drop_all(world, first[:16])
    world.pump()
    np.testing.assert_array_equal(world.stored()[:16], first[:16])
    drop_again(world, second)
    for z in range(16, DEPTH):
        world.drop(f"{z + OFFSET:04d}.png", png(second[z]))
    world.pump()
    check_stored(world, second)
    world.close()


def test_a_slice_that_is_dropped_again_while_its_job_has_failed_counts(world: IngestWorld):
    """Its chunk was stored before. Seen to fail where only running jobs open chunks again: the job
    is complete, and the first slice is what is stored."""
    first = stack(5, z=DEPTH)[0]
    drop_all(world, first[:16])
    world.pump()
    world.drop(f"{DEPTH - 1 + OFFSET:04d}.png", b"no image")
    for z in range(16, DEPTH - 1):
        world.drop(f"{z + OFFSET:04d}.png", png(first[z]))
    world.pump()
    assert world.job().state is State.FAILED
    second = with_zeros(first)
    drop_again(world, second)
    assert world.job().state is State.FAILED
    world.drop(f"{DEPTH - 1 + OFFSET:04d}.png", png(second[-1]))
    world.pump()
    check_stored(world, second)


@pytest.mark.parametrize("has_failed", [False, True])
def test_a_slice_that_was_replaced_and_not_told_of_is_noticed(world: IngestWorld, has_failed: bool):
    """By the sweep; of a job that has failed when it is retried.

    Seen to fail where only keys are compared: the first slice is what is stored.
    """
    world.drop_store = cast(ObjectStore, ListingEtags(world.drop_store))
    first = stack(6, z=DEPTH)[0]
    second = with_zeros(first)
    drop_all(world, first[:16])
    if has_failed:
        world.drop(f"{DEPTH - 1 + OFFSET:04d}.png", b"no image")
        for z in range(16, DEPTH - 1):
            world.drop(f"{z + OFFSET:04d}.png", png(first[z]))
    world.pump()
    assert (world.job().state is State.FAILED) == has_failed
    world.put(f"{Z:04d}.png", png(second[Z - OFFSET]))
    if has_failed:
        world.put(f"{DEPTH - 1 + OFFSET:04d}.png", png(second[-1]))
        world.process().ingest.registry.retry(world.job())
    else:
        world.process().ingest.sweeper.sweep_all()
        for z in range(16, DEPTH):
            world.drop(f"{z + OFFSET:04d}.png", png(second[z]))
    world.pump()
    check_stored(world, second)


@pytest.mark.parametrize("moment", range(1, 32))
def test_what_is_entered_is_what_was_read(world: IngestWorld, moment: int):
    """At any request of the last builder a file is written over, and nobody is told in time.

    Seen to fail where the builder does not look at the ETag: the chunk is entered as built of the
    first slice, and holds the second.
    """
    first = stack(7, z=DEPTH)[0]
    second = with_zeros(first)
    drop_all(world, first)
    process = world.process()
    process.ingest.build(world.job().id, 1, 1)
    name = f"{Z:04d}.png"
    late = Interrupted(moment, lambda: world.put(name, png(second[Z - OFFSET])))
    world.process(late).ingest.build(world.job().id, 1, 0)
    part = process.ingest.ledger.part(world.job(), 0, Z)
    assert part is not None
    now = world.drop_store.get(part.key)
    assert now is not None
    check_stored(world, second if late.fired and part.etag == now.etag else first)


def test_a_builder_that_dies_over_voxels_of_a_replaced_slice_is_found_by_verify(
    world: IngestWorld,
):
    """It stalled before it wrote, while another stored the newer slice and completed the job: the
    one order of things that nothing mends."""
    first = stack(8, z=DEPTH)[0]
    second = with_zeros(first)
    drop_all(world, first)

    def overtaken(builder: Process, write: Any, *args: Any, **options: Any) -> None:
        drop_again(world, second)
        world.pump()
        assert world.job().state is State.COMPLETE
        write(*args, **options)
        raise Crash

    builder = world.process()
    writer = builder.ingest._builder._composer._writer
    writer.write = partial(overtaken, builder, writer.write)
    with pytest.raises(Crash):
        builder.ingest.build(world.job().id, 1, 0)
    np.testing.assert_array_equal(world.stored(), first)
    found = list(world.process().ingest.verifier.check(world.job()))
    assert {difference.chunk for difference in found} == {0}


def test_what_others_painted_beside_a_chunk_that_is_stored_anew_stays(world: IngestWorld):
    """The other chunk holds voxels of somebody else, where the job has zeros."""
    first = stack(2, z=DEPTH)[0]
    first[16:, :, :5] = 0
    others = np.zeros((1, DEPTH, 14, 20), np.uint8)
    others[:, 16:, :, :5] = 77
    process = world.process()
    view = process.catalog.project_view("tk")
    level = view.dataset.pyramid.level(0)
    process.volume.write(view.channel("em"), Region(level, level.box, (0, 1)), others)
    drop_all(world, first[:16])
    world.pump()
    second = with_zeros(first)
    drop_again(world, second)
    for z in range(16, DEPTH):
        world.drop(f"{z + OFFSET:04d}.png", png(second[z]))
    world.pump()
    assert world.job().state is State.COMPLETE
    np.testing.assert_array_equal(world.stored(), second + others[0])


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "deleted"])
@pytest.mark.parametrize("moment", range(1, 32))
def test_a_builder_that_is_overtaken_by_one_with_a_newer_slice_does_not_undo_it(
    tmp_path: Path, moment: int, keep: bool
):
    """At any request of the builder the slice is replaced and stored by another process.

    Seen to fail where a builder that lost does not write once more, or finds deleted what it would
    write: voxels that were replaced come back behind the back of the digests.
    """
    world = make_world(tmp_path)
    world.options = BuildOptions(keep_input=keep)
    first = stack(3, z=DEPTH)[0]
    second = with_zeros(first)
    drop_all(world, first)

    def overtake() -> None:
        drop_again(world, second)
        world.pump()

    late = Interrupted(moment, overtake)
    world.process(late).ingest.build(world.job().id, 1, 0)
    if not late.fired:
        overtake()
    world.pump()
    check_stored(world, second)
    world.close()


@pytest.mark.parametrize("moment", range(1, 32))
def test_a_builder_whose_parts_another_has_stored_and_deleted_finds_no_fault(
    tmp_path: Path, moment: int
):
    """Seen to fail where faults are not doubted when the chunk has changed: the job fails."""
    dataset = catalog_world.dataset(imagesize_xyz=(20, 14, DEPTH), offset_xyz=(0, 0, OFFSET))
    options = BuildOptions(keep_input=False)
    world = disk_ingest_world(tmp_path, dataset=dataset, options=options)
    world.populate()
    voxels = stack(4, z=DEPTH)[0]
    drop_all(world, voxels)
    world.drop("_DONE", b"")
    call = (world.job().id, 1, 0)
    late = Interrupted(moment, lambda: world.process().ingest.build(*call))
    world.process(late).ingest.build(*call)
    world.pump()
    check_stored(world, voxels)
    world.close()


def test_all_slices_of_a_chunk_that_were_deleted_are_missing_at_once(tmp_path: Path):
    """When one is dropped again. Seen to fail where only the first that is found to be gone counts:
    each of them was asked for alone, after another try to build the chunk."""
    world = make_world(tmp_path)
    world.options = BuildOptions(keep_input=False)
    first = stack(8, z=DEPTH)[0]
    second = with_zeros(first)
    drop_all(world, first[:16])
    world.pump()
    drop_again(world, second)
    world.pump()
    missing = [z for _, z in world.process().ingest.missing(world.job())]
    assert missing == [z + OFFSET for z in range(DEPTH) if z != Z - OFFSET]
    drop_all(world, second)
    world.pump()
    check_stored(world, second)
    world.close()


def test_a_slice_that_is_dropped_again_does_not_erase_those_that_were_stored_and_deleted(
    tmp_path: Path,
):
    """Under ``zero``, with nothing more to come. Seen to fail where zeros in the place of slices
    that are gone are stored like those of a slice that is there: 15 slices are erased."""
    world = make_world(tmp_path)
    world.options = BuildOptions(keep_input=False)
    world.drop("_ingest.json", b'{"on_bad": "zero"}')
    first = stack(9, z=DEPTH)[0]
    drop_all(world, first[:16])
    world.pump()
    world.process().ingest.registry.close(world.job())
    second = with_zeros(first)
    second[Z - OFFSET, :7] += 1
    drop_again(world, second)
    world.pump()
    assert world.job().state is State.COMPLETE_WITH_ERRORS
    expected = np.where(second[:16], second[:16], first[:16])
    np.testing.assert_array_equal(world.stored()[:16], expected)
    faults = {fault.part for fault in world.process().ingest.faults(world.job())}
    assert faults >= {z + OFFSET for z in range(16) if z + OFFSET != Z}
    world.close()
