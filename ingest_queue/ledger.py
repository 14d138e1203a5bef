"""The truth about ingest jobs, in rows; messages only wake those who look at them.

====================  ========================  =================================================
pk                    sk                        row
====================  ========================  =================================================
``ingest``            ``JOB``                   the job
``ingest#running``    ``JOB``                   empty: lists the jobs that have not ended
``ingests#USER``      ``JOB``                   empty: lists the jobs of a user
``ingest#channel#U``  ``JOB``                   empty: lists the jobs of the channel of uid U
``ingest#folder``     ``FOLDER``                ``job``: the last job that a folder feeds
``ingest#JOB``        ``chunk#CHUNK``           members: parts seen; doc: what was built of them
``ingest#JOB``        ``part#CHUNK#PART``       where a part lies, and the ETag that came last
``ingest#JOB``        ``done#LEVEL#GROUP``      members: chunks that are built (``set_tree``)
``ingest#JOB``        ``error#CHUNK#PART``      what is wrong with a part; outlives the job
====================  ========================  =================================================

CHUNK, PART and GROUP are hexadecimal (12 digits). Parts of a chunk are slices by dataset z.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

from ingest_queue.grid import Chunk
from ingest_queue.job import JOBS, RUNNING, Job, State, channel_key, list_key
from ingest_queue.set_tree import SetTree
from ndlambda.errors import (
    AlreadyExistsError,
    NotFoundError,
    PreconditionFailedError,
    WriteContentionError,
)
from ndlambda.stores.ports import Action, Delete, Put, Row, Table

FOLDERS = "ingest#folder"

_ATTEMPTS = 32
_AFTER = "~"
_CHANGING = frozenset(
    {
        *("state", "generation", "created_at", "beat_at", "ended_at", "closed", "propagated"),
        *("swept", "reason", "digest"),
    }
)
"""What of a job is not what was asked for, but what became of it."""


@dataclass(frozen=True, slots=True)
class ChunkState:
    """What is known of a chunk.

    Attributes
    ----------
    seen
        Parts that came.
    built
        Whether it is stored, of the parts that ``bad`` does not name.
    bad
        Parts that could not be used, or did not come before the job was closed.
    digest
        BLAKE2b-160 over its slices and supercuboids; empty until it is built.
    reopened
        Whether a part was replaced: voxels of the one before may be stored.
    version
        Of the row; 0 where there is none.
    """

    seen: AbstractSet[int] = frozenset()
    built: bool = False
    bad: frozenset[int] = frozenset()
    digest: str = ""
    stored_bytes: int = 0
    reopened: bool = False
    version: int = 0

    def is_ready(self, chunk: Chunk) -> bool:
        """Tell whether all parts came."""
        return all(part in self.seen for part in chunk.parts)


@dataclass(frozen=True, slots=True)
class Part:
    """Where a part of a chunk lies: key and ETag of the object that came last."""

    number: int
    key: str
    etag: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a part of a job's input.

    Attributes
    ----------
    key
        Of the object, empty where none came.
    etag
        Of the content that was looked at, so that another content is another chance.
    """

    chunk: int
    part: int
    key: str
    error: str
    etag: str = ""
    first_seen: float = 0
    count: int = field(default=1)


class Ledger:
    """Jobs and their chunks.

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

    def now(self) -> float:
        """Give the time, in Unix seconds."""
        return self._clock()

    # jobs

    def create(self, job: Job, *, folder: str | None = None) -> Job:
        """Store a job; one of the same id and content is success, too.

        Parameters
        ----------
        job, folder
            The folder of dropped files that feeds this job from now on, if it is such a one.

        Raises
        ------
        AlreadyExistsError
            The id is of another job.
        """
        now = self._clock()
        job = replace(job, created_at=now, beat_at=now)
        actions: list[Action] = [
            Put(job.row, "absent"),
            Put(Row(RUNNING, job.id)),
            Put(Row(*list_key(job.owner_id, job.id))),
            Put(Row(*channel_key(job.channel_uid, job.id))),
        ]
        if folder is not None:
            actions.append(Put(Row(FOLDERS, folder, doc={"job": job.id}), self._free(folder)))
        try:
            self._table.transact(actions)
        except PreconditionFailedError:
            known = self.find(job.id)
            if known is None or _asked(known) != _asked(job):
                raise AlreadyExistsError(f"There is another job {job.id}.", job=job.id) from None
            return known
        return self.get(job.id)

    def find(self, job_id: str) -> Job | None:
        """Give a job, None where there is none."""
        row = self._table.get(JOBS, job_id)
        return None if row is None else Job.from_row(row)

    def get(self, job_id: str) -> Job:
        """Give a job.

        Raises
        ------
        NotFoundError
            There is none.
        """
        job = self.find(job_id)
        if job is None:
            raise NotFoundError(f"There is no ingest job {job_id[:80]!r}.", job=job_id[:80])
        return job

    def of_folder(self, folder: str) -> Job | None:
        """Give the job that a folder of dropped files feeds, or fed last."""
        row = self._table.get(FOLDERS, folder)
        return None if row is None else self.find(row.doc["job"])

    def of_user(self, user_id: int) -> Iterator[Job]:
        """Iterate over a user's jobs."""
        for row in self._rows(list_key(user_id, "")[0], ""):
            job = self.find(row.sk)
            if job is not None:
                yield job

    def running(self) -> Iterator[Job]:
        """Iterate over the jobs that have not ended."""
        for row in self._rows(RUNNING, ""):
            job = self.find(row.sk)
            if job is not None:
                yield job

    def change(self, job: Job, to: Callable[[Job], Job | None]) -> Job | None:
        """Change a job, tried again where others changed it at the same time.

        Parameters
        ----------
        job
            As it was read.
        to
            What to make of it as it is now; None leaves it.

        Returns
        -------
        Job or None
            The job as stored; None where ``to`` left it: of many who ask for one transition, one
            gets the job.
        """
        current: Job | None = job
        for _ in range(_ATTEMPTS):
            if current is None:
                return None
            new = to(current)
            if new is None:
                return None
            # The sweeper has to see to a propagation, too.
            owed = new.state.is_complete and new.propagate and not new.propagated
            running = Row(RUNNING, job.id)
            listed: Action = (
                Put(running) if new.state.takes_input or owed else Delete(running.pk, running.sk)
            )
            try:
                self._table.transact([Put(new.row, current.version), listed])
            except PreconditionFailedError:
                current = self.find(job.id)
                continue
            return self.get(job.id)
        raise WriteContentionError(f"Ingest job {job.id} keeps being changed by others.")

    def begin(self, job: Job) -> Job:
        """Let a created job be ingesting, and note that something happened."""

        def to(current: Job) -> Job | None:
            if current.state is State.CREATED:
                return current.with_state(State.INGESTING, self._clock())
            return None

        return self.change(job, to) or self.get(job.id)

    # chunks

    def see(self, job: Job, chunk: Chunk, part: Part) -> ChunkState:
        """Enter a part of a chunk as come, and give what is then known of the chunk."""
        key = _part_key(job, chunk.number, part.number)
        self._table.put(Row(*key, doc={"key": part.key, "etag": part.etag}))
        self._table.add_members(*_chunk_key(job, chunk.number), {part.number})
        return self.state(job, chunk.number)

    def unsee(self, job: Job, number: int, part: int, state: ChunkState) -> None:
        """Note that a part is gone again, unless the chunk has changed since ``state``."""
        self._table.remove_members(*_chunk_key(job, number), {part}, state.version)

    def parts(self, job: Job, number: int) -> dict[int, Part]:
        """Give where the parts of a chunk lie, by number."""
        found = {}
        for row in self._rows(job.partition, _parts(number)):
            part = Part(int(row.sk.rpartition("#")[2], 16), row.doc["key"], row.doc["etag"])
            found[part.number] = part
        return found

    def part(self, job: Job, chunk: int, number: int) -> Part | None:
        """Give where a part lies, None where it did not come."""
        row = self._table.get(*_part_key(job, chunk, number))
        return None if row is None else Part(number, row.doc["key"], row.doc["etag"])

    def state(self, job: Job, number: int) -> ChunkState:
        """Give what is known of a chunk."""
        row = self._table.get(*_chunk_key(job, number))
        return ChunkState() if row is None else _state(row)

    def states(self, job: Job, after: int = -1) -> Iterator[tuple[int, ChunkState]]:
        """Iterate over the chunks > after of which anything is known, in order."""
        for row in self._rows(job.partition, "chunk#", f"{after + 1:012x}"):
            yield int(row.sk.removeprefix("chunk#"), 16), _state(row)

    def put_state(self, job: Job, number: int, state: ChunkState) -> bool:
        """Store what is known of a chunk, unless that changed since; tell whether it was stored."""
        doc = {
            "built": state.built,
            "bad": sorted(state.bad),
            "digest": state.digest,
            "bytes": state.stored_bytes,
            "reopened": state.reopened,
        }
        row = Row(*_chunk_key(job, number), doc=doc, members=state.seen)
        try:
            self._table.put(row, state.version or "absent")
        except PreconditionFailedError:
            return False
        return True

    def built(self, job: Job, count: int) -> SetTree:
        """Give the set of chunks that are built."""
        return SetTree(self._table, job.partition, count)

    # faults

    def add_fault(self, job: Job, fault: Fault) -> None:
        """Record what is wrong with a part; the same again counts it."""
        key = _fault_key(job, fault.chunk, fault.part)
        old = self._table.get(*key)
        first, count = self._clock(), 1
        if old is not None and old.doc["etag"] == fault.etag:
            first, count = old.doc["first_seen"], old.doc["count"] + 1
        doc = {
            "key": fault.key,
            "error": fault.error[:1000],
            "etag": fault.etag,
            "first_seen": first,
            "count": count,
        }
        self._table.put(Row(*key, doc=doc))

    def fault(self, job: Job, chunk: int, part: int) -> Fault | None:
        """Give what is wrong with a part, None where nothing is."""
        row = self._table.get(*_fault_key(job, chunk, part))
        return None if row is None else _fault(row)

    def clear_fault(self, job: Job, chunk: int, part: int) -> None:
        """Forget what was wrong with a part that was mended."""
        self._table.delete(*_fault_key(job, chunk, part))

    def faults(self, job: Job) -> Iterator[Fault]:
        """Iterate over what is wrong, by chunk and part."""
        return map(_fault, self._rows(job.partition, "error#"))

    def _free(self, folder: str) -> Any:
        """Give what the row of a folder must be for a new job to take it over."""
        row = self._table.get(FOLDERS, folder)
        if row is None:
            return "absent"
        last = self.find(row.doc["job"])
        return "absent" if last is not None and last.state.takes_input else row.version

    def _rows(self, pk: str, prefix: str, first: str = "") -> Iterator[Row]:
        cursor: str | None = None
        first, last = prefix + first, prefix + _AFTER
        while True:
            page = self._table.query(pk, first=first, last=last, cursor=cursor)
            yield from page.rows
            cursor = page.cursor
            if cursor is None:
                return


def _asked(job: Job) -> Mapping[str, Any]:
    doc = job.row.doc
    return {name: doc[name] for name in doc if name not in _CHANGING}


def _chunk_key(job: Job, number: int) -> tuple[str, str]:
    return job.partition, f"chunk#{number:012x}"


def _parts(number: int) -> str:
    return f"part#{number:012x}#"


def _part_key(job: Job, chunk: int, number: int) -> tuple[str, str]:
    return job.partition, f"{_parts(chunk)}{number:012x}"


def _fault_key(job: Job, chunk: int, part: int) -> tuple[str, str]:
    return job.partition, f"error#{chunk:012x}#{part:012x}"


def _state(row: Row) -> ChunkState:
    doc = row.doc
    return ChunkState(
        seen=row.members,
        built=doc.get("built", False),
        bad=frozenset(doc.get("bad", ())),
        digest=doc.get("digest", ""),
        stored_bytes=doc.get("bytes", 0),
        reopened=doc.get("reopened", False),
        version=row.version,
    )


def _fault(row: Row) -> Fault:
    _, chunk, part = row.sk.split("#")
    return Fault(int(chunk, 16), int(part, 16), **row.doc)
