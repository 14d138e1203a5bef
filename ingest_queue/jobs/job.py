"""An ingest job: one channel, an extent, a policy and a state."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from ndlambda.errors import InvalidArgumentError, InvalidStateError
from ndlambda.services.jobs.index import JobEntry
from ndlambda.space.box import Box
from ndlambda.stores.ports import Row

KIND = "ingest"
JOBS = "ingest"
RUNNING = "ingest#running"
ENDED = "ingest#ended"

MAX_REASON_CHARS = 1000
"""Characters kept of an error message; rows are bounded, and messages of decoders are not."""

_FORMAT = 1
_LAST_MICROSECOND = (1 << 63) - 1
_ID = re.compile(r"[0-9a-f]{16}")


class State(StrEnum):
    """The state of a job."""

    CREATED = "CREATED"
    INGESTING = "INGESTING"
    COMPLETE = "COMPLETE"
    COMPLETE_WITH_ERRORS = "COMPLETE_WITH_ERRORS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def takes_input(self) -> bool:
        """Whether slices received now are recorded and built."""
        return self in {State.CREATED, State.INGESTING}

    @property
    def is_complete(self) -> bool:
        """Whether all chunks are stored, perhaps without unusable slices."""
        return self in {State.COMPLETE, State.COMPLETE_WITH_ERRORS}

    @property
    def is_final(self) -> bool:
        """Whether the job never accepts slices again, whatever is repaired."""
        return self in {State.COMPLETE, State.CANCELLED}


class Policy(StrEnum):
    """How a job treats a slice that is unusable, or missing at the end.

    ``FAIL`` stops the job until the slice is repaired; ``ZERO`` and ``SKIP`` continue and end the
    job ``COMPLETE_WITH_ERRORS``: with ``ZERO`` the slice counts as zeros, with ``SKIP`` as absent
    from the data (and from the digests).
    """

    FAIL = "fail"
    ZERO = "zero"
    SKIP = "skip"


class Mode(StrEnum):
    """What is uploaded: image files of whole planes, or boxes of voxels on the storage grid."""

    SLICES = "slices"
    CHUNKS = "chunks"


@dataclass(frozen=True, slots=True)
class Job:
    """An ingest job as it is stored.

    Attributes
    ----------
    id
        Random, 16 hexadecimal digits.
    owner_id
        The user who created it.
    token, project, channel, channel_uid, dataset
        Where the voxels go; the uid keeps a job from writing to a channel created again.
    resolution, box, times
        The extent: zero-based voxels of that resolution (dataset offset subtracted), and time
        points.
    folder
        Prefix of the job's input in the drop store.
    generation
        Fencing token, raised by cancel and retry: messages of older generations have no effect.
    propagate
        Start propagation when the job is complete; ``propagated``: it was started since the job
        took input last.
    tile_xyzt
        The size of the caller's own tiles, if it named one; nothing here depends on it.
    version
        Of the row.
    chunks
        Their number; 0 in jobs of older versions: unknown.
    swept
        Number of built chunks at the last sweep.
    digest
        The job root: BLAKE2b-160 over the digests of all chunks; empty until it is complete.
    notes
        What was chosen for what was created with the job, for people.
    labels
        Whether slices for an annotation channel may look like an image.
    """

    id: str
    owner_id: int
    token: str
    dataset: str
    project: str
    channel: str
    channel_uid: str
    resolution: int
    box: Box
    times: tuple[int, int]
    mode: Mode
    on_bad: Policy
    folder: str
    propagate: bool = False
    state: State = State.CREATED
    generation: int = 1
    created_at: float = 0
    beat_at: float = 0
    ended_at: float | None = None
    closed: bool = False
    propagated: bool = False
    swept: int = -1
    reason: str = ""
    digest: str = ""
    chunks: int = 0
    tile_xyzt: tuple[int, int, int, int] | None = None
    notes: tuple[str, ...] = ()
    labels: bool = False
    version: int = field(default=0, compare=False)

    @property
    def listed(self) -> JobEntry:
        """The job in the list of jobs of all kinds."""
        return JobEntry(KIND, self.id, self.owner_id, self.created_at)

    @property
    def partition(self) -> str:
        """Partition key of the rows of the job's chunks, sets and errors."""
        return f"{JOBS}#{self.id}"

    @property
    def row(self) -> Row:
        """The row that holds the job."""
        doc = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in {"box", "version"}
            and (name not in {"notes", "labels"} or getattr(self, name))
        }
        if self.tile_xyzt is None:
            del doc["tile_xyzt"]
        doc |= {"v": _FORMAT, "start": self.box.start_xyz, "stop": self.box.stop_xyz}
        return Row(JOBS, self.id, doc=doc)

    @classmethod
    def from_row(cls, row: Row) -> "Job":
        """Return the job in a row."""
        doc = dict(row.doc)
        del doc["v"]
        start, stop = doc.pop("start"), doc.pop("stop")
        doc |= {
            "times": tuple(doc["times"]),
            "mode": Mode(doc["mode"]),
            "on_bad": Policy(doc["on_bad"]),
            "notes": tuple(doc.get("notes", ())),
            "state": State(doc["state"]),
        }
        if "tile_xyzt" in doc:
            doc["tile_xyzt"] = tuple(doc["tile_xyzt"])
        box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        return cls(**doc, box=box, version=row.version)

    def with_state(self, state: State, now: float, reason: str = "") -> "Job":
        """Return the job in another state; what it takes from now on is not propagated yet."""
        return replace(
            self,
            state=state,
            ended_at=None if state.takes_input else now,
            beat_at=now,
            reason=reason[:MAX_REASON_CHARS],
            propagated=self.propagated and not state.takes_input,
        )

    def check_takes_input(self) -> None:
        """Check that the job still accepts slices.

        Raises
        ------
        InvalidStateError
            It has ended.
        """
        if not self.state.takes_input:
            raise InvalidStateError(
                f"Ingest job {self.id} is {self.state}; it takes no data now.",
                job=self.id,
                state=str(self.state),
            )


def is_job_id(text: str) -> bool:
    """Return whether a text is a valid job id."""
    return _ID.fullmatch(text) is not None


def list_partition(user_id: int) -> str:
    """Return the partition of the rows that list the jobs of a user."""
    return f"ingests#{user_id}"


def list_key(job: Job) -> tuple[str, str]:
    """Return the keys of the row that lists a job of its owner, the newest first."""
    age = _LAST_MICROSECOND - int(job.created_at * 1_000_000)
    return list_partition(job.owner_id), f"!{age:016x}{job.id}"


def old_list_key(job: Job) -> tuple[str, str]:
    """Return the keys by which earlier versions listed a job of its owner; behind all others."""
    return list_partition(job.owner_id), job.id


def under_way_key(user_id: int, job_id: str) -> tuple[str, str]:
    """Return the keys of the row that lists a job of its owner while it takes input."""
    return f"{list_partition(user_id)}#running", job_id


def fetch_partition(job: Job, generation: int) -> str:
    """Return the partition of the rows that record which slabs of a job were fetched."""
    return f"{job.partition}#fetch#{generation}"


def channel_key(channel_uid: str, job_id: str) -> tuple[str, str]:
    """Return the keys of the row that lists a job of its channel."""
    return f"ingest#channel#{channel_uid}", job_id


def message(job: Job, chunk: int, attempt: int = 1) -> Mapping[str, Any]:
    """Return the message that asks for a chunk to be built.

    Parameters
    ----------
    attempt
        More than 1 if an earlier attempt apparently did not finish.
    """
    body = {"v": _FORMAT, "job": job.id, "gen": job.generation, "chunk": chunk}
    return body if attempt == 1 else body | {"try": attempt}


def read_message(value: object) -> tuple[str, int, int, int]:
    """Return the job, generation, chunk and attempt of a message.

    Raises
    ------
    InvalidArgumentError
        It is not a message of ours.
    """
    match value:
        case {"v": 1, "job": str(job_id), "gen": int(generation), "chunk": int(chunk), **rest}:
            attempt = rest.get("try", 1)
            if isinstance(attempt, int):
                return job_id, generation, chunk, attempt
    raise InvalidArgumentError("The message is not a version 1 request to build a chunk.")
