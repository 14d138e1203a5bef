"""What the ledger costs: transactions for slices, requests for lists of jobs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingest_queue.jobs.chunk_state import Part
from ingest_queue.jobs.grid import Chunk
from ingest_queue.jobs.job import Job, State
from ingest_queue.jobs.ledger import Ledger
from ingest_queue.jobs.target import Target
from ndlambda.errors import AlreadyExistsError, PreconditionFailedError
from tests.support.counted import Counted
from tests.support.faults import Crash, FaultPlan, Faulty
from tests.support.ingest_world import OWNER, IngestWorld, disk_ingest_world


class Losing(Counted):
    """A table whose transactions lose against others."""

    def transact(self, actions: Any) -> None:
        raise PreconditionFailedError("Another was faster.")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IngestWorld]:
    made = disk_ingest_world(tmp_path)
    made.populate()
    yield made
    made.close()


def first_chunk(world: IngestWorld, job: Job) -> Chunk:
    return Target.of(job, world.process().catalog).grid(job).chunk(0)


def part(number: int) -> Part:
    return Part(number, f"drop/tk/em/{number:04d}.png", "etag")


def test_a_slice_is_entered_by_one_transaction(world):
    """The first of a chunk by two. Seen to fail where its two rows are written one by one."""
    job = world.create()
    chunk = first_chunk(world, job)
    table = Counted(world.base.table)
    ledger = Ledger(table)
    for number in (5, 6, 7, 7):
        state = ledger.record_part(job, chunk, part(number))
    assert state.received == {5, 6, 7}
    assert ledger.parts(job, 0) == {number: part(number) for number in (5, 6, 7)}
    writes = {name: table.calls[name] for name in ("transact", "put", "add_members")}
    assert writes == {"transact": 4, "put": 0, "add_members": 1}


def test_parts_of_all_chunks_are_read_in_pages(world):
    """Every minute, by the sweep. Seen to fail where each chunk is asked for its own."""
    job = world.create()
    grid = Target.of(job, world.process().catalog).grid(job)
    assert grid.count > 1
    table = Counted(world.base.table)
    ledger = Ledger(table)
    entered = [(chunk, part(grid.chunk(chunk).parts.start)) for chunk in range(grid.count)]
    for chunk, slice_of_it in entered:
        ledger.record_part(job, grid.chunk(chunk), slice_of_it)
    table.calls.clear()
    assert list(ledger.all_parts(job)) == entered
    assert table.calls == {"query": 1}
    process = world.process()
    process.ingest.registry._ledger = ledger
    table.calls.clear()
    process.ingest.registry.record_unnotified(job)
    assert table.calls == {"query": 3}, "states, parts, faults"


def test_a_folder_feeds_another_job_only_when_its_last_takes_nothing_more(world):
    """Seen to fail without the state of the last job in ``Ledger.create``: of two watchers of the
    folder each makes a job, and files that came go to either."""
    process = world.process()
    ledger = process.ingest.ledger
    asked = world.create()
    first, second = (replace(asked, id=digit * 16) for digit in "ab")
    ledger.create(first, folder="stack/")
    with pytest.raises(AlreadyExistsError):
        ledger.create(second, folder="stack/")
    assert (ledger.of_folder("stack/"), ledger.find(second.id)) == (ledger.get(first.id), None)
    process.ingest.cancel(ledger.get(first.id))
    ledger.create(second, folder="stack/")
    assert ledger.of_folder("stack/") == ledger.get(second.id)


def test_slices_of_one_chunk_that_come_at_once_are_all_entered(world):
    """Seen to fail without the way for transactions that lost."""
    job = world.create()
    ledger = Ledger(Losing(world.base.table))
    for number in (5, 6):
        state = ledger.record_part(job, first_chunk(world, job), part(number))
    assert state.received == set(ledger.parts(job, 0)) == {5, 6}


@pytest.mark.parametrize("at", range(1, 5))
def test_a_process_that_dies_over_a_slice_leaves_it_whole_or_not_entered(world, at):
    """Repeated, it is entered. Seen to fail where its two rows are written one by one."""
    job = world.create()
    chunk = first_chunk(world, job)
    plan = FaultPlan(at)
    with pytest.raises(Crash):
        Ledger(Faulty(world.base.table, plan)).record_part(job, chunk, part(5))
    ledger = Ledger(world.base.table)
    entered = ledger.state(job, 0).received
    assert (ledger.part(job, 0, 5) is not None) == (entered == {5})
    came = world.base.table.get(job.partition, f"came#{0:012x}")
    assert came is not None or not entered
    assert ledger.record_part(job, chunk, part(5)).received == {5}


def test_a_list_of_jobs_is_read_in_batches(world):
    """Seen to fail where each job is read by itself."""
    ids = {world.create().id for _ in range(5)}
    table = Counted(world.base.table)
    ledger = Ledger(table)
    assert {job.id for job in ledger.of_user.newest(OWNER, "", 9).items} == ids
    assert {job.id for job in ledger.running()} == ids
    assert (table.calls["query"], table.calls["batch_get"], table.calls["get"]) == (2, 2, 0)
    cancelled = world.process().ingest.cancel(ledger.get(min(ids)))
    assert cancelled.state is State.CANCELLED
    assert list(ledger.ended()) == [cancelled.id]
