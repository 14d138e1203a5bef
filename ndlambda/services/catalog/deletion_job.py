"""What a job of erasing or relabelling is, as a value, as rows and as a message."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from ndlambda.errors import MalformedBodyError
from ndlambda.services.catalog import keys
from ndlambda.services.jobs.index import JobEntry
from ndlambda.services.support.paging import Key
from ndlambda.stores.ports import Put, Row

PARTITION = "erase"
DELETION = "deletion"
MERGE = "merge"
ACTIONS_A_JOB = 4
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
    others
        Labels of further objects of the channel that are erased along with the first.
    state, reason
        Whether workers still try it, and if not, why.
    tries
        Runs in a row that failed, or whose workers died.
    waits
        Runs in a row that found the channel closed to writers, or whose time was not enough.
    begun
        Whether a worker has begun a run and not reported its end.
    listed
        Whether it is in the list of jobs of all kinds.
    """

    id: str
    kind: EraseKind
    name: str
    deleted_at: float
    called_at: float
    swept: bool = False
    resolution: int | None = None
    others: tuple[int, ...] = ()
    state: EraseState = EraseState.OPEN
    reason: str = ""
    tries: int = 0
    waits: int = 0
    begun: bool = False
    listed: bool = False

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
            state=EraseState(doc.get("state", EraseState.OPEN)),
            reason=doc.get("reason", ""),
            tries=doc.get("tries", 0),
            waits=doc.get("waits", 0),
            begun=doc.get("begun", False),
            listed=doc.get("listed", False),
        )


@dataclass(frozen=True, slots=True)
class EraseRecord:
    """A job as it was listed.

    Attributes
    ----------
    owner_id
        The owner of its project or dataset; None: unknown.
    """

    job: EraseJob
    owner_id: int | None

    @property
    def listed(self) -> JobEntry:
        """The job in the list of jobs of all kinds."""
        kind = MERGE if self.job.kind is EraseKind.MERGE else DELETION
        return JobEntry(kind, self.job.id, self.owner_id, self.job.deleted_at)

    def put_actions(self, expires: int | None = None) -> list[Put]:
        """Return the actions that store and list it."""
        doc = {**self.job.row.doc, "owner": self.owner_id}
        record = Row(*record_key(self.job.id), doc=doc, expires=expires)
        return [Put(record), *self.listed.put_actions(expires)]

    @classmethod
    def from_row(cls, row: Row) -> "EraseRecord":
        """Return the record of a row."""
        return cls(EraseJob.from_row(row), row.doc["owner"])


def object_job_id(channel_uid: str, label: int, others: Sequence[int] = ()) -> str:
    """Return the id of the job that erases the voxels of an object, and of others."""
    first = f"{channel_uid}#{label}"
    digest = hashlib.blake2b(repr(tuple(others)).encode(), digest_size=8).hexdigest()
    return f"{first}#{digest}" if others else first


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


def chain_key(job_id: str) -> Key:
    """Return the keys of the row of a job's watch chain."""
    return f"{PARTITION}#{job_id}", "watch"


def record_key(job_id: str) -> Key:
    """Return the keys of the record of a job."""
    return f"{PARTITION}#{job_id}", "record"


def owner_key(job: EraseJob) -> Key:
    """Return the keys of the row that names the owner of what a job erases."""
    if job.kind is EraseKind.DATASET:
        return keys.dataset_key(job.name)
    return keys.project_key(job.name.partition("/")[0])
