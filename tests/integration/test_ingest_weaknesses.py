"""The failures of the ingest systems before this one, by their numbers in its contract."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest_queue.jobs.job import State
from ingest_queue.jobs.keys import part_key
from ndlambda.errors import UpstreamError
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.space.box import Box
from ndlambda.stores.ports import Overwrite
from tests.support.ingest_world import (
    OFFSET,
    IngestWorld,
    disk_ingest_world,
    png,
    stack,
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IngestWorld]:
    made = disk_ingest_world(tmp_path)
    yield made
    made.close()


class FullDisk:
    """An object store that takes no supercuboids any more, though it takes what is small."""

    def __init__(self, port: Any) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    def put(self, key: str, data: Any, mode: Any) -> Any:
        if key.startswith("ingest/"):
            return self._port.put(key, data, mode)
        raise UpstreamError("The object store failed: No space left on device.", key=key)


def test_1_a_chunk_that_could_not_be_written_is_no_hole(world: IngestWorld):
    """Seen to fail where ``build`` swallows the error and enters the chunk as built."""
    world.populate()
    voxels = stack(1)
    world.notice(world.put_stack(voxels))
    full = world.process(wrap=lambda name, port: FullDisk(port) if name == "objects" else port)
    with pytest.raises(UpstreamError) as raised:
        world.pump(full)
    assert raised.value.retryable
    world.lose_messages()
    assert world.job().state is State.INGESTING
    world.process().ingest.sweeper.sweep_all()
    world.pump()
    assert world.job().state is State.COMPLETE
    np.testing.assert_array_equal(world.stored(), voxels[0])


def test_2_a_job_is_not_complete_because_its_queues_are_empty(world: IngestWorld):
    """Nor because all chunks are stored of which a slice came. Seen to fail without the set of
    stored chunks."""
    world.populate()
    process = world.process()
    for come in (32, 43):
        world.notice(world.put_stack(stack(2)[:, :come]))
        world.lose_messages()
        for chunk in (0, 1):
            process.ingest.build(world.job().id, 1, chunk)
        assert not world.builds.receive(10)
        assert world.job().state is State.INGESTING
    process.ingest.build(world.job().id, 1, 2)
    assert world.job().state is State.COMPLETE


def test_3_what_was_wrong_with_a_slice_outlives_the_job(world: IngestWorld):
    world.populate()
    world.drop("_ingest.json", b'{"on_bad": "zero"}')
    keys = world.put_stack(stack(3))
    world.put("0007.png", b"no image")
    world.notice(keys)
    world.pump()
    assert world.job().state is State.COMPLETE_WITH_ERRORS
    (fault,) = world.process().ingest.faults(world.job())
    assert (fault.part, fault.key) == (7, keys[2])
    assert fault.error


def test_4_a_slice_told_of_again_after_the_end_changes_nothing(world: IngestWorld):
    world.populate()
    keys = world.put_stack(stack(4))
    world.notice(keys)
    world.pump()
    ended = world.job()
    world.notice(keys[:5])
    assert world.job() == ended
    assert not world.builds.receive(10)


def test_5_calls_that_were_lost_are_made_again(world: IngestWorld):
    """Seen to fail without the sweeper calling for chunks that are whole."""
    world.populate()
    world.notice(world.put_stack(stack(5)))
    world.lose_messages()
    world.process().ingest.sweeper.sweep_all()
    world.pump()
    assert world.job().state is State.COMPLETE


def test_6_an_extent_beside_the_grid_is_stored_where_it_belongs(world: IngestWorld):
    """Seen to fail where chunks are counted from the first of the volume."""
    world.populate()
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


def test_7_no_row_of_a_job_expires(world: IngestWorld):
    world.populate()
    world.notice(world.put_stack(stack(7)))
    world.pump()
    job = world.job()
    partitions = ["ingest", job.partition, "ingest#folder", "ingest#running", f"ingests#{7}"]
    rows = [row for pk in partitions for row in world.table.query(pk).rows]
    assert len(rows) > 10
    assert {row.expires for row in rows} == {None}


def test_8_making_a_job_sends_no_message_and_few_rows(world: IngestWorld):
    world.populate()
    before = len(world.base.row_keys())
    world.create()
    assert not world.builds.receive(10)
    assert len(world.base.row_keys()) - before == 4


def test_9_what_is_uploaded_to_one_job_is_no_part_of_another(world: IngestWorld):
    world.populate()
    first, second = world.create(), world.create()
    key = part_key(first.id, 0, f"{OFFSET:06d}.png")
    world.drop_store.put(key, png(stack(9)[0, 0]), Overwrite())
    world.notice([key])
    states = world.process().ingest.ledger
    assert [len(state.received) for _, state in states.states(first)] == [1]
    assert not list(states.states(second))
    # a slice under the number of another chunk is a fault, not a slice
    astray = part_key(second.id, 1, f"{OFFSET:06d}.png")
    world.drop_store.put(astray, png(stack(9)[0, 0]), Overwrite())
    world.notice([astray])
    assert not list(states.states(second))
    assert [fault.key for fault in states.faults(second)] == [astray]


def test_10_labels_enter_the_index_as_they_come(world: IngestWorld):
    channel = world.populate(channel_type=ChannelType.ANNOTATION, datatype=DataType.UINT32)
    labels = np.zeros((1, 43, 14, 20), np.uint8)
    labels[0, 20:24, 3:6, 4:9] = 77
    world.notice(world.put_stack(labels))
    world.pump()
    assert world.job().state is State.COMPLETE
    np.testing.assert_array_equal(world.stored(), labels[0])
    rows = [sk for pk, sk in world.base.row_keys() if channel.uid in pk + sk]
    assert any("77" in sk or f"{77:x}" in sk for sk in rows)


def test_11_time_folders_are_time_points(world: IngestWorld):
    world.populate(channel_type=ChannelType.TIMESERIES, endtime=2)
    voxels = stack(11, 2)
    world.notice(world.put_stack(voxels, times=True))
    world.pump()
    assert world.job().state is State.COMPLETE
    for time_point in range(2):
        np.testing.assert_array_equal(world.stored(time_point=time_point), voxels[time_point])


def test_12_the_first_slice_begins_a_job_that_nobody_looks_at(world: IngestWorld):
    world.populate()
    world.notice(world.put_stack(stack(12))[:1])
    assert world.job().state is State.INGESTING


def test_13_the_job_starts_the_propagation_itself_once(world: IngestWorld):
    world.populate()
    world.drop("_ingest.json", b'{"propagate": true}')
    world.notice(world.put_stack(stack(13)))
    world.pump()
    for _ in range(3):
        world.process().ingest.sweeper.sweep_all()
    assert world.propagated == [world.job().id]
    assert not list(world.process().ingest.ledger.running())


def test_13_a_propagation_that_a_dying_process_did_not_start_is_started(world: IngestWorld):
    """Seen to fail where a completed job is no longer among those that are swept."""
    world.populate()
    world.drop("_ingest.json", b'{"propagate": true}')
    world.notice(world.put_stack(stack(13)))
    process = world.process()
    process.ingest._builder._propagate = _die
    with pytest.raises(ZeroDivisionError):
        world.pump(process)
    assert world.job().state is State.COMPLETE
    assert not world.propagated
    world.process().ingest.sweeper.sweep_all()
    assert world.propagated == [world.job().id]


def _die(job: Any) -> None:
    raise ZeroDivisionError
