"""The jobs of erasing or relabelling, as rows; queue messages only wake the worker for them."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from ndlambda.batches import batched
from ndlambda.errors import MalformedBodyError, PreconditionFailedError
from ndlambda.services.support.paging import rows_in
from ndlambda.services.support.watch import Chains, Look
from ndlambda.stores.ports import MAX_TRANSACTION, Delete, Put, Queue, Row, Table

PARTITION = "erase"
MAX_DELAY_S = 900
"""The maximum delay of a message in SQS."""
MAX_REASON_CHARS = 1000
MAX_WAITS = 100
"""Waits in a row, about a day, after which a job is given up."""
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


class EraseState(StrEnum):
    """The state of a job that has not ended."""

    OPEN = "open"
    FAILED = "failed"
    """It was tried too often; a person retries it."""


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
    state, reason
        Whether workers still try it, and if not, why.
    tries
        Runs in a row that failed, or whose workers died.
    waits
        Runs in a row that found the channel closed to writers, or whose time was not enough.
    begun
        Whether a worker has begun a run and not reported its end.
    """

    id: str
    kind: EraseKind
    name: str
    deleted_at: float
    called_at: float
    swept: bool = False
    resolution: int | None = None
    state: EraseState = EraseState.OPEN
    reason: str = ""
    tries: int = 0
    waits: int = 0
    begun: bool = False

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
            state=EraseState(doc.get("state", EraseState.OPEN)),
            reason=doc.get("reason", ""),
            tries=doc.get("tries", 0),
            waits=doc.get("waits", 0),
            begun=doc.get("begun", False),
        )


def object_job_id(channel_uid: str, label: int) -> str:
    """Return the id of the job that erases the voxels of an object."""
    return f"{channel_uid}#{label}"


def merge_job_id(channel_uid: str, label: int, resolution: int | None) -> str:
    """Return the id of the job that relabels the voxels of a merged object."""
    where = "all" if resolution is None else f"{resolution}"
    return f"{object_job_id(channel_uid, label)}#merge#{where}"


@dataclass(frozen=True, slots=True)
class EraseMessage:
    """A message: run a job.

    Attributes
    ----------
    again
        Whether it was sent because the job was overdue.
    """

    job_id: str
    again: bool = False

    @property
    def body(self) -> str:
        """The message as text."""
        body = {"v": _FORMAT, "job": self.job_id}
        return json.dumps(body | {"again": True} if self.again else body)


def read_message(body: str) -> EraseMessage:
    """Parse a message.

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
            return EraseMessage(job_id, message.get("again") is True)
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
        self.chains = Chains(table, queue, _chain_key, clock)

    def new(
        self, job_id: str, kind: EraseKind, name: str, resolution: int | None = None
    ) -> EraseJob:
        """Return a new job; ``put_action`` stores it."""
        now = self._clock()
        return EraseJob(job_id, kind, name, now, now, resolution=resolution)

    def put_action(self, job: EraseJob) -> Put:
        """Return the action that stores a job, for the transaction of the deletion.

        Its watch chain begins here, so that no death of this process leaves it alone.
        """
        self.chains.start([job.id])
        return Put(job.row)

    def put_actions(self, jobs: Sequence[EraseJob]) -> list[Put]:
        """Return the actions that store jobs; see ``put_action``."""
        self.chains.start([job.id for job in jobs])
        return [Put(job.row) for job in jobs]

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

    def enqueue(self, job_ids: Sequence[str], delay_s: float = 0, *, again: bool = False) -> None:
        """Enqueue jobs whose rows are stored."""
        if job_ids:
            bodies = [EraseMessage(job_id, again).body for job_id in job_ids]
            self._queue.send(bodies, delay_s=min(math.ceil(delay_s), MAX_DELAY_S))

    def begin(self, job: EraseJob) -> None:
        """Store and enqueue a job that needs no transaction."""
        self._table.put(self.put_action(job).row)
        self.enqueue([job.id])

    def take(self, job_id: str, *, is_redelivery: bool) -> EraseJob | None:
        """Return an open job whose run begins now, None if there is nothing to run.

        No second worker is called for it within ``MAX_DELAY_S``, longer than any worker lives. A
        run that was begun before and never reported its end counts as a try, if this one was called
        because of that.
        """
        row = self._table.get(PARTITION, job_id)
        if row is None:
            return None
        job = EraseJob.from_row(row)
        if job.state is not EraseState.OPEN:
            return None
        tries = job.tries + (job.begun and is_redelivery)
        due = self._clock() + MAX_DELAY_S
        begun = replace(job, begun=True, tries=tries, called_at=max(due, job.called_at))
        self._put_if_unchanged(begun, row.version)
        return replace(begun, called_at=job.called_at)

    def enqueue_later(self, job: EraseJob, delay_s: float) -> None:
        """Store and enqueue a job after a delay, at most ``MAX_DELAY_S``; its run has ended."""
        delay_s = min(max(delay_s, 0), MAX_DELAY_S)
        self.enqueue([job.id], delay_s)
        self._report(job, self._clock() + delay_s)

    def go_on(self, job: EraseJob) -> None:
        """Store and enqueue a job whose run came as far as one run goes."""
        self.enqueue_later(replace(job, tries=0, waits=0), 0)

    def wait(self, job: EraseJob) -> None:
        """Store a job of which nothing is to be done before it is due; its run has ended."""
        self._report(job, job.called_at)

    def fail(self, job: EraseJob, reason: str) -> None:
        """Give a job up until a person retries it."""
        failed = replace(job, state=EraseState.FAILED, reason=reason[:MAX_REASON_CHARS])
        self._report(failed, self._clock())

    def look_after(self, job_id: str) -> Look:
        """Re-enqueue a job that is overdue."""
        row = self._table.get(PARTITION, job_id)
        job = None if row is None else EraseJob.from_row(row)
        if row is None or job is None or job.state is not EraseState.OPEN:
            return Look.ENDED
        now = self._clock()
        if now - job.called_at < OVERDUE_S:
            return Look.RESTS
        self.enqueue([job_id], again=True)
        self._put_if_unchanged(replace(job, called_at=now), row.version)
        return Look.MOVES

    def sweep(self) -> int:
        """Look after the open jobs whose watch chains stand still; return their number."""
        rows = rows_in(self._table, PARTITION)
        return sum(self.chains.take_over(row.sk, self.look_after) for row in rows)

    def _report(self, job: EraseJob, called_at: float) -> None:
        """Store a job, unless it is done, as due at a time and not being run."""
        row = self._table.get(PARTITION, job.id)
        if row is not None:
            self._put_if_unchanged(replace(job, begun=False, called_at=called_at), row.version)

    def _put_if_unchanged(self, job: EraseJob, version: int) -> None:
        try:
            self._table.put(job.row, expect=version)
        except PreconditionFailedError:
            # Ended or changed by another worker.
            return


def _chain_key(job_id: str) -> tuple[str, str]:
    return f"{PARTITION}#{job_id}", "watch"
