"""The rows of ingest jobs, the single source of truth; messages only wake workers.

====================  ========================  =================================================
pk                    sk                        row
====================  ========================  =================================================
``ingest``            ``JOB``                   the job
``ingest#running``    ``JOB``                   empty: lists the jobs that have not ended
``ingest#ended``      ``JOB``                   empty: lists the jobs with uploads to remove
``ingests#USER``      ``!AGE JOB`` or ``JOB``   empty: lists the jobs of a user (``user_jobs``)
``ingest#channel#U``  ``JOB``                   empty: lists the jobs of the channel of uid U
``ingest#folder``     ``FOLDER``                ``job``: the last job fed by a folder;
                                                ``owner``: of the project that it fills
``ingest#JOB``        ``chunk#CHUNK``           members: received parts; doc: ``ChunkState``
``ingest#JOB``        ``part#CHUNK#PART``       key and ETag of the object received last
``ingest#JOB``        ``done#LEVEL#GROUP``      members: built chunks (``set_tree``)
``ingest#JOB``        ``came#GROUP``, ``odd#…`` members: see ``chunk_sets``
``ingest#JOB``        ``try#GENERATION#CHUNK``  unfinished attempts (``attempts``)
``ingest#JOB``        ``error#CHUNK#PART``      fault of a part; outlives the job
``ingest#JOB``        ``watch``, ``turn``       the job's watch chain; where its looks are
====================  ========================  =================================================

CHUNK, PART and GROUP are hexadecimal (12 digits). Parts of a chunk are slices by dataset z.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from ingest_queue.jobs.attempts import Attempts
from ingest_queue.jobs.chunk_sets import ChunkSets
from ingest_queue.jobs.chunk_state import ChunkState, Fault, Part
from ingest_queue.jobs.grid import Chunk
from ingest_queue.jobs.job import (
    ENDED,
    JOBS,
    MAX_REASON_CHARS,
    RUNNING,
    Job,
    Mode,
    State,
    channel_key,
    list_key,
    under_way_key,
)
from ingest_queue.jobs.keys import Dropped
from ingest_queue.jobs.set_tree import SetTree
from ingest_queue.jobs.turn import Turn
from ingest_queue.jobs.user_jobs import UserJobs
from ndlambda.errors import (
    AlreadyExistsError,
    NotFoundError,
    PreconditionFailedError,
    WriteContentionError,
)
from ndlambda.services.jobs.index import JobIndex
from ndlambda.services.support.paging import Key, pages, prefixed, rows_in
from ndlambda.services.support.retry import HOT_ROW_ATTEMPTS, optimistic
from ndlambda.services.support.watch import Chains
from ndlambda.stores.ports import Action, Delete, Put, Queue, Row, Table

FOLDERS = "ingest#folder"
_TURN = "turn"

_CHANGING = frozenset(
    {
        *("state", "generation", "created_at", "beat_at", "ended_at", "closed", "propagated"),
        *("swept", "reason", "digest", "chunks"),
    }
)
"""Fields that record the state of a job; all others record what was asked for."""


class Ledger:
    """Jobs and their chunks; ``of_user`` lists the jobs of a user.

    Parameters
    ----------
    table
        Where the rows are.
    clock
        Unix seconds.
    """

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock
        self.of_user = UserJobs(table)

    def now(self) -> float:
        """Return the time, in Unix seconds."""
        return self._clock()

    # jobs

    def create(self, job: Job, *, folder: str | None = None, owner_id: int | None = None) -> Job:
        """Store a job. Idempotent: a job of the same id and content is returned.

        Parameters
        ----------
        folder
            The folder of dropped files that feeds this job from now on, if any.
        owner_id
            The owner of the project that the folder fills.

        Raises
        ------
        AlreadyExistsError
            Another job has the id.
        """
        now = self._clock()
        job = replace(job, created_at=now, beat_at=now)
        actions: list[Action] = [
            Put(job.row, "absent"),
            Put(Row(RUNNING, job.id)),
            Put(Row(*list_key(job))),
            Put(Row(*under_way_key(job.owner_id, job.id))),
            Put(Row(*channel_key(job.channel_uid, job.id))),
            *job.listed.put_actions(),
        ]
        if folder is not None:
            actions.append(
                Put(
                    Row(FOLDERS, folder, doc={"job": job.id, "owner": owner_id}), self._free(folder)
                )
            )
        try:
            self._table.transact(actions)
        except PreconditionFailedError:
            known = self.find(job.id)
            if known is None or _requested_fields(known) != _requested_fields(job):
                raise AlreadyExistsError(f"There is another job {job.id}.", job=job.id) from None
            return known
        return self.get(job.id)

    def find(self, job_id: str) -> Job | None:
        """Return a job, None if there is none."""
        row = self._table.get(JOBS, job_id)
        return None if row is None else Job.from_row(row)

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises
        ------
        NotFoundError
            There is none.
        """
        job = self.find(job_id)
        if job is None:
            raise NotFoundError(f"There is no ingest job {job_id[:80]!r}.", job=job_id[:80])
        return job

    def find_for(self, dropped: Dropped) -> Job | None:
        """Return the job that a dropped object belongs to, None if there is none yet."""
        if dropped.job is not None:
            return self.find(dropped.job)
        return self.of_folder(dropped.folder)

    def of_folder(self, folder: str) -> Job | None:
        """Return the job that a folder of dropped files feeds, or fed last."""
        row = self._table.get(FOLDERS, folder)
        return None if row is None else self.find(row.doc["job"])

    def running(self) -> Iterator[Job]:
        """Iterate over the jobs that have not ended."""
        return (job for _, job in self._listed(RUNNING) if job is not None)

    def find_all(self, job_ids: Sequence[str]) -> dict[str, Job]:
        """Return jobs by id; those that are gone are left out."""
        rows = self._table.batch_get([(JOBS, job_id) for job_id in job_ids])
        return {sk: Job.from_row(row) for (_, sk), row in rows.items()}

    def ensure_listed(self, job: Job) -> None:
        """List a job that an older version created."""
        JobIndex(self._table).ensure([job.listed])

    def ended(self) -> Iterator[str]:
        """Iterate over the ids of ended jobs whose uploads are not removed yet."""
        return (row.sk for row in rows_in(self._table, ENDED))

    def forget_ended(self, job_id: str) -> None:
        """Record that no upload of a job is left."""
        self._table.delete(ENDED, job_id)

    def change(self, job: Job, to: Callable[[Job], Job | None]) -> Job | None:
        """Change a job under optimistic concurrency, with retries on conflict.

        Parameters
        ----------
        job
            As it was read.
        to
            Returns the new job for the current one; None leaves it unchanged.

        Returns
        -------
        Job or None
            The job as stored; None if ``to`` left it unchanged. Of many concurrent callers that
            ask for one transition, exactly one gets the job.
        """
        for attempt in optimistic(HOT_ROW_ATTEMPTS):
            current = self.find(job.id) if attempt else job
            new = None if current is None else to(current)
            if current is None or new is None:
                return None
            # Listed as running until its propagation is started, which the sweeper retries.
            owed = new.state.is_complete and new.propagate and not new.propagated
            actions: list[Action] = [
                Put(new.row, current.version),
                _listed_if((RUNNING, job.id), new.state.takes_input or owed),
                _listed_if(under_way_key(job.owner_id, job.id), new.state.takes_input),
            ]
            if new.state.is_final:
                actions.append(Put(Row(ENDED, job.id)))
            try:
                self._table.transact(actions)
            except PreconditionFailedError:
                continue
            return self.get(job.id)
        raise WriteContentionError(f"Ingest job {job.id} keeps being changed by others.")

    def begin(self, job: Job) -> Job:
        """Move a created job to INGESTING and record the time."""

        def to(current: Job) -> Job | None:
            if current.state is State.CREATED:
                return current.with_state(State.INGESTING, self._clock())
            return None

        return self.change(job, to) or self.get(job.id)

    # chunks

    def record_part(self, job: Job, chunk: Chunk, part: Part) -> ChunkState:
        """Record a received part of a chunk, and return the chunk's new state.

        Both rows change in one transaction, which halves the commits of a large drop on a laptop.
        If it conflicts with parts of the same chunk received at the same time, they change one
        after the other, without conditions.
        """
        entry = Row(
            *_part_key(job, chunk.number, part.number), doc={"key": part.key, "etag": part.etag}
        )
        state = self.state(job, chunk.number)
        if not state.received:
            self.sets(job).add_received(chunk.number)
        key = _chunk_key(job, chunk.number)
        whole = Row(*key, doc=state.doc, members=state.received | {part.number})
        try:
            self._table.transact([Put(entry), Put(whole, state.version or "absent")])
        except (PreconditionFailedError, WriteContentionError):
            self._table.put(entry)
            self._table.add_members(*key, {part.number})
        return self.state(job, chunk.number)

    def forget_parts(
        self, job: Job, number: int, parts: AbstractSet[int], state: ChunkState
    ) -> None:
        """Remove parts from a chunk unless it has changed since ``state``."""
        self.sets(job).add_needs_row(number)
        self._table.remove_members(*_chunk_key(job, number), parts, state.version)

    def parts(self, job: Job, number: int) -> dict[int, Part]:
        """Return the parts of a chunk by number."""
        rows = self._rows(job.partition, _parts(number))
        return {part.number: part for _, part in map(_part, rows)}

    def all_parts(self, job: Job) -> Iterator[tuple[int, Part]]:
        """Iterate over all parts of a job, with the numbers of their chunks."""
        return map(_part, self._rows(job.partition, "part#"))

    def part(self, job: Job, chunk: int, number: int) -> Part | None:
        """Return a part, None if it was not received."""
        row = self._table.get(*_part_key(job, chunk, number))
        return None if row is None else _part(row)[1]

    def state(self, job: Job, number: int) -> ChunkState:
        """Return the state of a chunk."""
        row = self._table.get(*_chunk_key(job, number))
        return ChunkState() if row is None else ChunkState.from_row(row)

    def states_of(self, job: Job, numbers: Sequence[int]) -> dict[int, ChunkState]:
        """Return the states of some chunks; chunks without a row are left out."""
        rows = self._table.batch_get([_chunk_key(job, number) for number in numbers])
        return {
            int(sk.removeprefix("chunk#"), 16): ChunkState.from_row(row)
            for (_, sk), row in rows.items()
        }

    def states(self, job: Job, after: int = -1) -> Iterator[tuple[int, ChunkState]]:
        """Iterate over the chunks > after that have a row, in order."""
        for row in self._rows(job.partition, "chunk#", f"{after + 1:012x}"):
            yield int(row.sk.removeprefix("chunk#"), 16), ChunkState.from_row(row)

    def put_state(self, job: Job, number: int, state: ChunkState) -> bool:
        """Store the state of a chunk unless its row has changed; return whether it was stored."""
        if state.reopened or (state.bad and job.mode is Mode.SLICES):
            self.sets(job).add_needs_row(number)
        row = Row(*_chunk_key(job, number), doc=state.doc, members=state.received)
        try:
            self._table.put(row, state.version or "absent")
        except PreconditionFailedError:
            return False
        return True

    def reopen(self, job: Job, number: int, part: int) -> ChunkState:
        """Mark a chunk for rebuilding because one of its parts was replaced.

        The row of a chunk under construction changes, too, so its builder cannot record it as
        built.
        """
        for _ in optimistic(HOT_ROW_ATTEMPTS):
            state = self.state(job, number)
            opened = replace(state, built=False, bad=state.bad - {part}, reopened=True)
            if self.put_state(job, number, opened):
                return self.state(job, number)
        raise WriteContentionError(f"Chunk {number} of job {job.id} keeps changing.")

    def built(self, job: Job, count: int) -> SetTree:
        """Return the set of built chunks."""
        return SetTree(self._table, job.partition, count)

    def attempts(self, job: Job) -> Attempts:
        """Return the record of unfinished attempts on the job's chunks."""
        return Attempts(self._table, job.partition, job.generation, self._clock)

    def chains(self, queue: Queue) -> Chains:
        """Return the watch chains of jobs, whose messages go to a queue."""
        return Chains(self._table, queue, lambda job_id: (f"{JOBS}#{job_id}", "watch"), self._clock)

    def turn(self, job: Job) -> Turn:
        """Return the last look after a job."""
        return Turn.from_row(self._table.get(job.partition, _TURN))

    def put_turn(self, job: Job, turn: Turn) -> None:
        """Store a look; of concurrent ones any may win."""
        self._table.put(Row(job.partition, _TURN, doc=turn.doc))

    def sets(self, job: Job) -> ChunkSets:
        """Return the sets by which chunks are counted."""
        return ChunkSets(self._table, job.partition)

    # faults

    def add_fault(self, job: Job, fault: Fault) -> None:
        """Record a fault of a part; the same content again increments its count."""
        key = _fault_key(job, fault.chunk, fault.part)
        old = self._table.get(*key)
        first, count = self._clock(), 1
        if old is not None and old.doc["etag"] == fault.etag:
            first, count = old.doc["first_seen"], old.doc["count"] + 1
        doc = {
            "key": fault.key,
            "error": fault.error[:MAX_REASON_CHARS],
            "etag": fault.etag,
            "first_seen": first,
            "count": count,
        }
        self._table.put(Row(*key, doc=doc))

    def fault(self, job: Job, chunk: int, part: int) -> Fault | None:
        """Return the fault of a part, None if there is none."""
        row = self._table.get(*_fault_key(job, chunk, part))
        return None if row is None else Fault.from_row(row)

    def clear_fault(self, job: Job, chunk: int, part: int) -> None:
        """Remove the fault of a repaired part."""
        self._table.delete(*_fault_key(job, chunk, part))

    def faults(self, job: Job, chunk: int | None = None) -> Iterator[Fault]:
        """Iterate over the faults (of a chunk), by chunk and part."""
        prefix = "error#" if chunk is None else _faults(chunk)
        return map(Fault.from_row, self._rows(job.partition, prefix))

    def _free(self, folder: str) -> Any:
        """Return the expectation on the row of a folder under which a new job may take it over."""
        row = self._table.get(FOLDERS, folder)
        if row is None:
            return "absent"
        last = self.find(row.doc["job"])
        return "absent" if last is not None and last.state.takes_input else row.version

    def _listed(self, pk: str) -> Iterator[tuple[str, Job | None]]:
        """Iterate over the listed ids and their jobs, read a page at a time."""
        for rows in pages(self._table, pk):
            jobs = self._table.batch_get([(JOBS, row.sk) for row in rows])
            for row in rows:
                found = jobs.get((JOBS, row.sk))
                yield row.sk, None if found is None else Job.from_row(found)

    def _rows(self, pk: str, prefix: str, first: str = "") -> Iterator[Row]:
        return rows_in(self._table, pk, *prefixed(prefix, prefix + first))


def _listed_if(key: Key, is_listed: bool) -> Action:
    return Put(Row(*key)) if is_listed else Delete(*key)


def _requested_fields(job: Job) -> Mapping[str, Any]:
    doc = job.row.doc
    return {name: doc[name] for name in doc if name not in _CHANGING}


def _chunk_key(job: Job, number: int) -> tuple[str, str]:
    return job.partition, f"chunk#{number:012x}"


def _parts(number: int) -> str:
    return f"part#{number:012x}#"


def _part_key(job: Job, chunk: int, number: int) -> tuple[str, str]:
    return job.partition, f"{_parts(chunk)}{number:012x}"


def _part(row: Row) -> tuple[int, Part]:
    """Return the number of a chunk, and a part of it."""
    _, chunk, number = row.sk.split("#")
    return int(chunk, 16), Part(int(number, 16), row.doc["key"], row.doc["etag"])


def _fault_key(job: Job, chunk: int, part: int) -> tuple[str, str]:
    return job.partition, f"{_faults(chunk)}{part:012x}"


def _faults(chunk: int) -> str:
    return f"error#{chunk:012x}#"
