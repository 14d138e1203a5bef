"""The jobs of erasing or relabelling, as rows; queue messages only wake the worker for them."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from ndlambda.batches import batched
from ndlambda.errors import MalformedBodyError, PreconditionFailedError
from ndlambda.services.support.paging import children
from ndlambda.stores.ports import MAX_TRANSACTION, Delete, Put, Queue, Row, Table

PARTITION = "erase"
MAX_DELAY_S = 900
"""The maximum delay of a message in SQS."""
OVERDUE_S = 60
"""Seconds after its due time after which a job is re-enqueued: its message may be lost."""

_FORMAT = 1


class EraseKind(StrEnum):
    """The kind of thing that a job erases."""

    DATASET = "dataset"
    PROJECT = "project"
    CHANNEL = "channel"
    OBJECT = "object"
    MERGE = "merge"
    """Nothing is erased: the label of an object becomes that of its survivor."""


@dataclass(frozen=True, slots=True)
class EraseJob:
    """An erasure that has begun. Its row is deleted when nothing is left to do.

    Attributes
    ----------
    id
        The uid of the dataset, project or channel, so that deleting twice is one job; for an
        object, the channel's uid, ``#`` and its label; for a merge, with a suffix.
    name
        Of the dataset or project; ``PROJECT/CHANNEL`` for a channel or an object.
    deleted_at
        Unix seconds of the deletion.
    called_at
        Unix seconds at which the last message is due.
    swept
        Whether the first pass over the objects is complete.
    resolution
        The only one that a merge relabels; None: all.
    others
        Labels of further objects of the channel that are erased along with the first.
    """

    id: str
    kind: EraseKind
    name: str
    deleted_at: float
    called_at: float
    swept: bool = False
    resolution: int | None = None
    others: tuple[int, ...] = ()

    @property
    def prefix(self) -> str:
        """The prefix of the keys of a channel's objects."""
        return f"{self.name}/{self.id}/"

    @property
    def channel_uid(self) -> str:
        """The uid of the channel, or of an object's channel."""
        return self.id.partition("#")[0]

    @property
    def label(self) -> int:
        """The label of an object's voxels."""
        return int(self.id.split("#")[1])

    @property
    def labels(self) -> tuple[int, ...]:
        """The labels of all objects that are erased."""
        return (self.label, *self.others)

    @property
    def row(self) -> Row:
        """The row of this job."""
        return Row(PARTITION, self.id, doc={"v": _FORMAT, **asdict(self)})

    @classmethod
    def from_row(cls, row: Row) -> "EraseJob":
        """Return the job of a row."""
        doc = row.doc
        return cls(
            id=doc["id"],
            kind=EraseKind(doc["kind"]),
            name=doc["name"],
            deleted_at=doc["deleted_at"],
            called_at=doc["called_at"],
            swept=doc["swept"],
            resolution=doc.get("resolution"),
            others=tuple(doc.get("others", ())),
        )


def object_job_id(channel_uid: str, label: int, others: Sequence[int] = ()) -> str:
    """Return the id of the job that erases the voxels of an object, and of others."""
    first = f"{channel_uid}#{label}"
    digest = hashlib.blake2b(repr(tuple(others)).encode(), digest_size=8).hexdigest()
    return f"{first}#{digest}" if others else first


def merge_job_id(channel_uid: str, label: int, resolution: int | None) -> str:
    """Return the id of the job that relabels the voxels of a merged object."""
    where = "all" if resolution is None else f"{resolution}"
    return f"{object_job_id(channel_uid, label)}#merge#{where}"


def job_id_of(body: str) -> str:
    """Return the job id of a message.

    Raises
    ------
    MalformedBodyError
        The text is no message of an erasure.
    """
    try:
        message = json.loads(body)
    except ValueError as error:
        raise MalformedBodyError("The message is not JSON.") from error
    match message:
        case {"v": 1, "job": str(job_id)} if job_id:
            return job_id
    raise MalformedBodyError("The message is not a version 1 message of an erasure.")


class EraseJobs:
    """The rows of jobs and the messages to the worker.

    Parameters
    ----------
    table, queue
        The stores of rows and messages.
    clock
        Unix seconds.
    """

    def __init__(self, table: Table, queue: Queue, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._queue = queue
        self._clock = clock

    def new(
        self,
        job_id: str,
        kind: EraseKind,
        name: str,
        resolution: int | None = None,
        others: Sequence[int] = (),
    ) -> EraseJob:
        """Return a new job; ``put_action`` stores it."""
        now = self._clock()
        return EraseJob(job_id, kind, name, now, now, resolution=resolution, others=tuple(others))

    def put_action(self, job: EraseJob) -> Put:
        """Return the action that stores a job, for the transaction of the deletion."""
        return Put(job.row)

    def delete_action(self, job_id: str) -> Delete:
        """Return the action that ends a job."""
        return Delete(PARTITION, job_id)

    def find(self, job_id: str) -> EraseJob | None:
        """Return a job, None if it is done."""
        row = self._table.get(PARTITION, job_id)
        return None if row is None else EraseJob.from_row(row)

    def end(self, job_id: str) -> None:
        """End a completed job."""
        self._table.delete(PARTITION, job_id)

    def end_all(self, job_ids: Sequence[str]) -> None:
        """End completed jobs."""
        for batch in batched(job_ids, MAX_TRANSACTION):
            self._table.transact([self.delete_action(job_id) for job_id in batch])

    def is_merging(self, channel_uid: str, label: int) -> bool:
        """Return whether voxels of an object are still being relabelled."""
        first = f"{object_job_id(channel_uid, label)}#merge#"
        return bool(self._table.query(PARTITION, first=first, last=f"{first}~", limit=1).rows)

    def enqueue(self, job_ids: Sequence[str], delay_s: float = 0) -> None:
        """Enqueue jobs whose rows are stored."""
        if job_ids:
            bodies = [json.dumps({"v": _FORMAT, "job": job_id}) for job_id in job_ids]
            self._queue.send(bodies, delay_s=min(math.ceil(delay_s), MAX_DELAY_S))

    def begin_all(self, jobs: Sequence[EraseJob]) -> None:
        """Store and enqueue jobs that belong to no other transaction."""
        for batch in batched(jobs, MAX_TRANSACTION):
            self._table.transact([self.put_action(job) for job in batch])
        self.enqueue([job.id for job in jobs])

    def enqueue_later(self, job: EraseJob, delay_s: float) -> None:
        """Store and enqueue a job after a delay, at most ``MAX_DELAY_S``."""
        delay_s = min(max(delay_s, 0), MAX_DELAY_S)
        self.enqueue([job.id], delay_s)
        self.postpone(job, delay_s)

    def postpone(self, job: EraseJob, delay_s: float) -> None:
        """Store a job, unless it is done, as due after a delay."""
        row = self._table.get(PARTITION, job.id)
        if row is not None:
            due = replace(job, called_at=self._clock() + delay_s)
            self._put_if_unchanged(due, row.version)

    def requeue_stale(self) -> int:
        """Re-enqueue the jobs that are overdue; return their number."""
        now = self._clock()
        overdue = [
            row
            for row in children(self._table, PARTITION)
            if now - EraseJob.from_row(row).called_at >= OVERDUE_S
        ]
        self.enqueue([row.sk for row in overdue])
        for row in overdue:
            self._put_if_unchanged(replace(EraseJob.from_row(row), called_at=now), row.version)
        return len(overdue)

    def _put_if_unchanged(self, job: EraseJob, version: int) -> None:
        try:
            self._table.put(job.row, expect=version)
        except PreconditionFailedError:
            # Ended or postponed by another worker.
            return
