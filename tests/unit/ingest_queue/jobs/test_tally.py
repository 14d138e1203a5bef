"""How far a job is: the sets tell the same as the rows of all chunks, and cost less."""

from dataclasses import replace
from random import Random

import pytest

from ingest_queue.jobs import chunk_sets, set_tree
from ingest_queue.jobs.chunk_state import ChunkState, Part
from ingest_queue.jobs.grid import ChunkGrid
from ingest_queue.jobs.job import Job, Mode, Policy
from ingest_queue.jobs.ledger import Ledger
from ingest_queue.jobs.tally import Tally
from ndlambda.space.box import Box
from tests.support.counted import Counted
from tests.support.faults import Crash, FaultPlan, Faulty

SUPERCUBOID = (4, 3, 2)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let windows end after 16 chunks."""
    monkeypatch.setattr(set_tree, "WAYS", 4)
    monkeypatch.setattr(chunk_sets, "WAYS", 4)
    monkeypatch.setattr(chunk_sets, "_WINDOW", 16)


def job_of(mode: Mode, box: Box, times: tuple[int, int] = (0, 1)) -> tuple[Job, ChunkGrid]:
    job = Job(
        id="0123456789abcdef", owner_id=1, token="tk", dataset="ds", project="pj", channel="em",
        channel_uid="u", resolution=0, box=box, times=times, mode=mode, on_bad=Policy.ZERO,
        folder="drop/j/0123456789abcdef/",
    )  # fmt: skip
    if mode is Mode.SLICES:
        return job, ChunkGrid.of_slices(box, times, SUPERCUBOID, 5)
    return job, ChunkGrid.of_chunks(box, times, SUPERCUBOID)


def check(ledger: Ledger, job: Job, grid: ChunkGrid) -> None:
    """Compare with what the rows of all chunks say."""
    states = {n: ChunkState() for n in range(grid.count)} | dict(ledger.states(job))
    told = Tally(ledger, job, grid).progress(itemsize=2)
    lacking = [
        (chunk, missing)
        for chunk in grid.chunks()
        if (missing := [part for part in chunk.parts if part not in states[chunk.number].received])
    ]
    assert told.chunks_built == sum(state.built for state in states.values())
    assert told.chunks_open == sum(
        bool(state.received) and not state.built for state in states.values()
    )
    assert told.parts_received == sum(len(state.received) for state in states.values())
    assert told.stored_bytes == sum(state.stored_bytes for state in states.values())
    for span in (range(grid.count), range(7, grid.count), range(3, min(18, grid.count))):
        expected = [each for each in lacking if each[0].number in span]
        assert list(Tally(ledger, job, grid).missing_parts(span)) == expected
    assert (told.first_missing is None) == (not lacking)


def build(ledger: Ledger, job: Job, grid: ChunkGrid, number: int) -> None:
    chunk, state = grid.chunk(number), ledger.state(job, number)
    bad = frozenset(part for part in chunk.parts if part not in state.received)
    built = replace(state, built=True, bad=bad, stored_bytes=chunk.box.voxels * 2)
    assert ledger.put_state(job, number, built)
    ledger.built(job, grid.count).enter(number)


def change(ledger: Ledger, job: Job, grid: ChunkGrid, number: int, random: Random) -> None:
    """Let something happen to a chunk."""
    chunk, state = grid.chunk(number), ledger.state(job, number)
    match random.choice(["see", "see", "see", "build", "build", "open", "lose"]):
        case "see":
            for part in random.sample(chunk.parts, random.randint(1, len(chunk.parts))):
                ledger.record_part(job, chunk, Part(part, "k", "e"))
        case "build" if not state.built and (job.closed or state.is_ready(chunk)):
            build(ledger, job, grid, number)
        case "open" if state.built:
            ledger.put_state(job, number, replace(state, built=False, reopened=True))
        case "lose" if state.received and not state.built:
            ledger.forget_parts(job, number, {min(state.received)}, state)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("seed", range(3))
def test_the_sets_tell_what_the_rows_tell(narrow, table, mode, seed, closed):
    """Parts come in any order, chunks are built, opened again and lose parts. Seen to fail when
    chunks that are opened again, or lose a part, are not entered as odd."""
    random, ledger = Random(seed), Ledger(table)
    job, grid = job_of(mode, Box((3, 2, 1), (20, 11, 13)), times=(2, 5))
    job = replace(job, closed=closed)
    check(ledger, job, grid)
    for step in range(60):
        # The first chunks more often, so that whole windows are full and others are empty.
        change(ledger, job, grid, int(grid.count * random.random() ** 3), random)
        if step % 20 == 0:
            check(ledger, job, grid)
    check(ledger, job, grid)
    for number in range(grid.count):
        for part in grid.chunk(number).parts:
            ledger.record_part(job, grid.chunk(number), Part(part, "k", "e"))
        if not ledger.state(job, number).built:
            build(ledger, job, grid, number)
    check(ledger, job, grid)


@pytest.mark.parametrize("step", range(1, 5))
def test_a_part_that_came_is_never_held_missing_once_it_is_entered(table, step):
    """Seen to fail when the set is entered after the chunk's row."""
    job, grid = job_of(Mode.CHUNKS, Box((0, 0, 0), (16, 12, 8)))
    dying = Ledger(Faulty(table, FaultPlan(step)))
    with pytest.raises(Crash):
        dying.record_part(job, grid.chunk(4), Part(0, "k", "e"))
    ledger = Ledger(table)
    ledger.record_part(job, grid.chunk(4), Part(0, "k", "e"))
    check(ledger, job, grid)


def test_a_large_job_is_counted_in_few_rows(table):
    """A million chunks, the first 700 000 of them stored: seen to be 700 000 rows without sets."""
    job, grid = job_of(Mode.CHUNKS, Box((0, 0, 0), (8 * 100, 6 * 100, 4 * 100)))
    assert grid.count == 1_000_000
    done, counted = 700_001, Counted(table)
    groups = done // 256
    for group in range(groups + 1):
        members = set(range(min(256, done - group * 256)))
        table.add_members(job.partition, f"done#0#{group:012x}", members)
        table.add_members(job.partition, f"came#{group:012x}", members)
    for group in range(groups // 256 + 1):
        full = set(range(min(256, groups - group * 256)))
        table.add_members(job.partition, f"done#1#{group:012x}", full)
    told = Tally(Ledger(counted), job, grid).progress(itemsize=1)
    assert (told.chunks_built, told.parts_received) == (done, done)
    assert told.stored_bytes == done * 8 * 6 * 4
    assert told.first_missing == (0, done)
    assert counted.rows < 50
    assert counted.calls.total() < 200


def test_an_empty_job_of_any_size_is_counted_at_once(table):
    counted = Counted(table)
    job, grid = job_of(Mode.CHUNKS, Box((0, 0, 0), (8 << 13, 6 << 13, 4 << 13)))
    ledger = Ledger(counted)
    last = grid.count - 1
    ledger.record_part(job, grid.chunk(last), Part(0, "k", "e"))
    counted.clear()
    told = Tally(ledger, job, grid).progress(itemsize=1)
    assert (told.chunks, told.parts_received, told.first_missing) == (1 << 39, 1, (0, 0))
    assert counted.calls.total() < 30
