"""What is still to be erased or relabelled, as rows; the queue only calls the worker to them."""

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
LONGEST_DELAY_S = 900
"""The longest that SQS holds a message back."""
OVERDUE_S = 60
"""Seconds behind its call after which a job is called again: its message may be lost."""

_FORMAT = 1


class EraseKind(StrEnum):
    """What a job erases."""

    DATASET = "dataset"
    PROJECT = "project"
    CHANNEL = "channel"
    OBJECT = "object"
    MERGE = "merge"
    """Not erased: the label of an object becomes that of the one that it went into."""


@dataclass(frozen=True, slots=True)
class EraseJob:
    """One erasure that has begun. Its row goes when nothing is left to do.

    Attributes
    ----------
    id
        The uid of the dataset, project or channel, so that deleting twice is one job; of an
        object, the channel's uid, ``#`` and its label; of a merge, more behind that.
    name
        Of the dataset or project; ``PROJECT/CHANNEL`` of a channel, and of an object's.
    deleted_at
        Unix seconds at which the row of the channel (or the mark of the rest) was written.
    called_at
        Unix seconds for which the worker was last called.
    swept
        Whether a whole pass over the objects was made.
    resolution
        The only one that a merge is about; None: all.
    """

    id: str
    kind: EraseKind
    name: str
    deleted_at: float
    called_at: float
    swept: bool = False
    resolution: int | None = None

    @property
    def prefix(self) -> str:
        """Of the keys of a channel's objects."""
        return f"{self.name}/{self.id}/"

    @property
    def channel_uid(self) -> str:
        """Of the channel, or of an object's."""
        return self.id.partition("#")[0]

    @property
    def label(self) -> int:
        """Of an object's voxels."""
        return int(self.id.split("#")[1])

    @property
    def row(self) -> Row:
        """The row that holds this job."""
        return Row(PARTITION, self.id, doc={"v": _FORMAT, **asdict(self)})

    @classmethod
    def from_row(cls, row: Row) -> "EraseJob":
        """Return the job that a row holds."""
        doc = row.doc
        return cls(
            id=doc["id"],
            kind=EraseKind(doc["kind"]),
            name=doc["name"],
            deleted_at=doc["deleted_at"],
            called_at=doc["called_at"],
            swept=doc["swept"],
            resolution=doc.get("resolution"),
        )


def object_job_id(channel_uid: str, label: int) -> str:
    """Return the job that erases the voxels of an object."""
    return f"{channel_uid}#{label}"


def merge_job_id(channel_uid: str, label: int, resolution: int | None) -> str:
    """Return the job that relabels the voxels of an object that went into another."""
    where = "all" if resolution is None else f"{resolution}"
    return f"{object_job_id(channel_uid, label)}#merge#{where}"


def job_id_of(body: str) -> str:
    """Return the job that a message is about.

    Raises
    ------
    MalformedBodyError
        The text is no message of ours.
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
    """The rows of erasures and the calls to the worker.

    Parameters
    ----------
    table, queue
        Where the rows and the calls are.
    clock
        Unix seconds.
    """

    def __init__(self, table: Table, queue: Queue, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._queue = queue
        self._clock = clock

    def new(
        self, job_id: str, kind: EraseKind, name: str, resolution: int | None = None
    ) -> EraseJob:
        """Return a job that begins now; it is stored with ``put_action``."""
        now = self._clock()
        return EraseJob(job_id, kind, name, now, now, resolution=resolution)

    def put_action(self, job: EraseJob) -> Put:
        """Return the action that stores a job, for the transaction that removes its thing."""
        return Put(job.row)

    def delete_action(self, job_id: str) -> Delete:
        """Return the action that ends a job."""
        return Delete(PARTITION, job_id)

    def find(self, job_id: str) -> EraseJob | None:
        """Return a job, or None when it is done."""
        row = self._table.get(PARTITION, job_id)
        return None if row is None else EraseJob.from_row(row)

    def end(self, job_id: str) -> None:
        """Remove a job that has nothing left to do."""
        self._table.delete(PARTITION, job_id)

    def end_all(self, job_ids: Sequence[str]) -> None:
        """Remove such jobs."""
        for some in batched(job_ids, MAX_TRANSACTION):
            self._table.transact([self.delete_action(job_id) for job_id in some])

    def is_merging(self, channel_uid: str, label: int) -> bool:
        """Return whether voxels of an object are still being relabelled."""
        first = f"{object_job_id(channel_uid, label)}#merge#"
        return bool(self._table.query(PARTITION, first=first, last=f"{first}~", limit=1).rows)

    def call(self, job_ids: Sequence[str], delay_s: float = 0) -> None:
        """Call the worker to jobs, after their rows are stored."""
        if job_ids:
            bodies = [json.dumps({"v": _FORMAT, "job": job_id}) for job_id in job_ids]
            self._queue.send(bodies, delay_s=min(math.ceil(delay_s), LONGEST_DELAY_S))

    def begin(self, job: EraseJob) -> None:
        """Store a job that needs no transaction, and call the worker to it."""
        self._table.put(job.row)
        self.call([job.id])

    def call_later(self, job: EraseJob, delay_s: float) -> None:
        """Call the worker to a job after a delay, or as late as a message can be held back."""
        delay_s = min(max(delay_s, 0), LONGEST_DELAY_S)
        self.call([job.id], delay_s)
        self.postpone(job, delay_s)

    def postpone(self, job: EraseJob, delay_s: float) -> None:
        """Store a job as not overdue for some time: a message is on its way, or a worker there."""
        self.note(replace(job, called_at=self._clock() + delay_s))

    def note(self, job: EraseJob) -> None:
        """Store what changed in a job, unless it has been done meanwhile."""
        row = self._table.get(PARTITION, job.id)
        if row is not None:
            self._put_if_same(job, row.version)

    def call_overdue(self) -> int:
        """Call the worker again to jobs that it should have come to, and return how many."""
        now = self._clock()
        overdue = [
            row
            for row in children(self._table, PARTITION)
            if now - EraseJob.from_row(row).called_at >= OVERDUE_S
        ]
        self.call([row.sk for row in overdue])
        for row in overdue:
            self._put_if_same(replace(EraseJob.from_row(row), called_at=now), row.version)
        return len(overdue)

    def _put_if_same(self, job: EraseJob, version: int) -> None:
        try:
            self._table.put(job.row, expect=version)
        except PreconditionFailedError:
            # Done or noted by another worker, who knows as much.
            return
