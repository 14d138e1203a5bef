"""What a look after a job costs: as much as happened since the last one, however large the job."""

import numpy as np
import pytest

from ingest_queue.jobs import turn
from ingest_queue.jobs.chunk_state import ChunkState
from ingest_queue.jobs.grid import DATA
from ingest_queue.jobs.job import Mode, State
from ingest_queue.jobs.turn import Turn
from ndlambda.testing.counting import CountingStores
from ndlambda.testing.memory import MemoryTable
from tests.support import catalog_world
from tests.support.ingest_world import IngestWorld, disk_ingest_world

SIZES = (512, 2048, 8192)
PER_CHUNK, ALWAYS = 3, 40
"""Requests of a look: at most so many for each chunk that came or was built since, and at least."""


def world_of(folder, chunks):
    """Return a world with a job of so many boxes, on rows in memory."""
    files = disk_ingest_world(folder)
    base = catalog_world.World(
        MemoryTable(files.base.clock), files.base.objects, files.base.queue, files.base.clock
    )
    size = (256 * chunks, 128, 16)
    dataset = catalog_world.dataset(imagesize_xyz=size, offset_xyz=(0, 0, 0))
    world = IngestWorld(base, files.drop_store, files.builds, dataset=dataset)
    world.populate()
    job = world.create(mode=Mode.CHUNKS)
    assert world.process().ingest.target(job).grid(job).count == chunks
    return world, job


def build(world, job, numbers, count):
    """Record chunks as received and built, as their builders do."""
    ledger = world.process().ingest.ledger
    tree = ledger.built(job, count)
    for number in numbers:
        ledger.sets(job).add_received(number)
        state = ChunkState(frozenset({DATA}), built=True, digest="d", stored_bytes=1)
        assert ledger.put_state(job, number, state)
        tree.enter(number)


def cost(world, job):
    """Return the requests of a look."""
    stores = CountingStores()
    process = world.process(wrap=lambda name, port: _counted(stores, name, port))
    process.ingest.sweeper.look_after(job.id)
    return stores.requests


def _counted(stores, name, port):
    wrap = {"table": stores.table, "builds": stores.queue}.get(name, stores.objects)
    return wrap(port)


@pytest.mark.parametrize("order", ["in order", "shuffled"])
def test_a_look_costs_what_is_new(tmp_path, order):
    """Seen to fail where a look reads the rows of all chunks, and where it settles full groups."""
    costs = {}
    for chunks in SIZES:
        world, job = world_of(tmp_path / f"{chunks}", chunks)
        job = world.process().ingest.ledger.begin(job)
        numbers = np.arange(chunks)
        if order == "shuffled":
            np.random.default_rng(0).shuffle(numbers)
        build(world, job, numbers[: chunks // 2].tolist(), chunks)
        cost(world, job)  # the first one lists the folder
        for new in (0, 30):
            start = chunks // 2
            build(world, job, numbers[start : start + new].tolist(), chunks)
            costs[chunks, new] = cost(world, job)
            assert costs[chunks, new] <= PER_CHUNK * new + ALWAYS, costs
        world.close()


def test_a_look_reads_a_bounded_number_of_open_chunks(tmp_path, monkeypatch):
    """Seen to fail without the position of the look before: the later chunks never get a turn."""
    from ingest_queue.build import sweep

    monkeypatch.setattr(sweep, "_ROWS_A_LOOK", 100)
    world, job = world_of(tmp_path, 512)
    ledger = world.process().ingest.ledger
    job = ledger.begin(job)
    for number in range(512):
        ledger.sets(job).add_received(number)
        ledger.put_state(job, number, ChunkState(frozenset({DATA})))
    enqueued = set()
    for _ in range(6):
        world.process().ingest.sweeper.look_after(job.id)
        while messages := world.builds.receive(10):
            enqueued |= {message.body for message in messages if '"chunk"' in message.body}
            world.builds.ack([message.receipt for message in messages])
    assert len(enqueued) == 512
    assert ledger.get(job.id).state is State.INGESTING
    world.close()


def test_the_folder_is_listed_at_first_then_rarely_and_when_nothing_moves():
    looks, numbers = Turn(), []
    for number in range(1, 2 * turn._LISTED_EVERY + 1):
        looks = looks.next(goes_on=True)
        numbers += [number] * looks.lists
    assert numbers == [1, 1 + turn._LISTED_EVERY]
    idle = []
    for number in range(1, 20):
        looks = looks.next(goes_on=False)
        idle += [number] * looks.lists
    assert idle[:5] == [1, 2, 4, 8, 16]
