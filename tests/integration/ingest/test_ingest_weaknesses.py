"""The failures of the ingest systems before this one, by their numbers in its contract.

1, 3, 5, 11 and 12 (holes, faults that are forgotten, lost calls, time points, jobs that need to be
started) are tested with full disks, faults, chaos and drop folders.
"""

from contextlib import nullcontext

import numpy as np
import pytest

from ingest_queue.jobs.job import State
from ingest_queue.jobs.keys import part_key
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.space.box import Box
from ndlambda.stores.ports import Overwrite
from tests.support.ingest_world import OFFSET, OWNER, look_after_all, png, stack

DEPTH = 43


def test_2_a_job_is_not_complete_because_its_queues_are_empty(world):
    """Seen to fail without the set of stored chunks."""
    for received in (32, 43):
        world.drop_stack(stack(2)[:, :received])
        world.lose_messages()
        for chunk in (0, 1):
            world.build(chunk)
        assert not world.builds.receive(10)
        assert world.state is State.INGESTING
    world.build(2)
    assert world.state is State.COMPLETE


def test_4_a_slice_announced_again_after_the_end_changes_nothing(world):
    """7: And no row of a job expires."""
    ended = world.ingest(stack(4))
    rows = [
        row
        for pk in ("ingest", ended.partition, "ingest#folder", f"ingests#{OWNER}")
        for row in world.table.query(pk).rows
    ]
    assert len(rows) > 10
    assert {row.expires for row in rows} == {None}
    world.notice(world.put_stack(stack(4))[:5])
    assert world.job() == ended
    assert not world.builds.receive(10)


def test_6_an_extent_beside_the_grid_is_stored_where_it_belongs(world):
    """Seen to fail where chunks are counted from the first of the volume."""
    box = Box((3, 2, 18), (17, 13, 37))
    job = world.create(box=box)
    planes = stack(6)[0][box.slices_zyx()]
    for z, plane in enumerate(planes, box.start_xyz[2] + OFFSET):
        number = (z - OFFSET) // 16 - 1  # the first chunk has 14 slices, from 18 on
        world.drop(f"{number:012x}/{z:06d}.png", png(plane), job.folder)
    world.pump()
    assert world.process().ingest.ledger.get(job.id).state is State.COMPLETE
    expected = np.zeros((43, 14, 20), np.uint8)
    expected[box.slices_zyx()] = planes
    np.testing.assert_array_equal(world.stored(), expected)


def test_8_making_a_job_sends_no_message_and_few_rows(world):
    before = len(world.base.row_keys())
    world.create()
    assert not world.builds.receive(10)
    assert len(world.base.row_keys()) - before == 5


def test_9_what_is_uploaded_to_one_job_is_no_part_of_another(world):
    first, second = world.create(), world.create()
    ledger = world.process().ingest.ledger
    for job, chunk in ((first, 0), (second, 1)):
        key = part_key(job.id, chunk, f"{OFFSET:06d}.png")
        world.drop_store.put(key, png(stack(9)[0, 0]), Overwrite())
        world.notice([key])
    assert [len(state.received) for _, state in ledger.states(first)] == [1]
    assert not list(ledger.states(second))
    # a slice under the number of another chunk is a fault, not a slice
    assert [fault.key for fault in ledger.faults(second)] == [key]


def test_10_labels_enter_the_index_as_they_come(make_world):
    world = make_world({"channel_type": ChannelType.ANNOTATION, "datatype": DataType.UINT32})
    labels = np.zeros((1, 43, 14, 20), np.uint8)
    labels[0, 20:24, 3:6, 4:9] = 77
    assert world.ingest(labels).state is State.COMPLETE
    np.testing.assert_array_equal(world.stored(), labels[0])
    uid = world.job().channel_uid
    rows = [sk for pk, sk in world.base.row_keys() if uid in pk + sk]
    assert any("77" in sk or f"{77:x}" in sk for sk in rows)


@pytest.mark.parametrize("dies", [False, True])
def test_13_the_job_starts_the_propagation_itself_once(world, dies):
    """Or the sweep. Seen to fail where completed jobs are not among those that are swept."""

    def die(job):
        raise ZeroDivisionError

    world.drop("_ingest.json", b'{"propagate": true}')
    world.drop_stack(stack(13))
    process = world.process()
    if dies:
        process.ingest._builder._propagate = die
    with pytest.raises(ZeroDivisionError) if dies else nullcontext():
        world.pump(process)
    assert world.state is State.COMPLETE
    assert len(world.propagated) == (0 if dies else 1)
    for _ in range(3):
        look_after_all(world.process().ingest)
    assert world.propagated == [world.job().id]
    assert not list(world.process().ingest.ledger.running())
