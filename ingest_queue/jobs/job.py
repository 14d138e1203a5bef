"""What an ingest job is: one channel, an extent, a policy, and a state."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from ndlambda.errors import InvalidArgumentError, InvalidStateError
from ndlambda.space.box import Box
from ndlambda.stores.ports import Row

JOBS = "ingest"
RUNNING = "ingest#running"
ENDED = "ingest#ended"

LONGEST_REASON = 1000
"""Characters that are kept of what is wrong; rows are bounded, and messages of decoders are not."""

_FORMAT = 1
_ID = re.compile(r"[0-9a-f]{16}")


class State(StrEnum):
    """How far a job is."""

    CREATED = "CREATED"
    INGESTING = "INGESTING"
    COMPLETE = "COMPLETE"
    COMPLETE_WITH_ERRORS = "COMPLETE_WITH_ERRORS"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def takes_input(self) -> bool:
        """Whether slices that come now are recorded and built."""
        return self in {State.CREATED, State.INGESTING}

    @property
    def is_complete(self) -> bool:
        """Whether all chunks are stored, perhaps without slices that are no use."""
        return self in {State.COMPLETE, State.COMPLETE_WITH_ERRORS}

    @property
    def is_final(self) -> bool:
        """Whether the job will never take slices again, whatever is mended."""
        return self in {State.COMPLETE, State.CANCELLED}


class Policy(StrEnum):
    """What becomes of a slice that cannot be used, or is missing at the end.

    ``FAIL`` stops the job until it is mended; ``ZERO`` and ``SKIP`` go on and end the job
    ``COMPLETE_WITH_ERRORS``: with ``ZERO`` the slice counts as one of zeros, with ``SKIP`` as not
    part of the data (its place is no part of the digests).
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
        The user who made it.
    token, project, channel, channel_uid, dataset
        Where the voxels go; the uid keeps a job from writing to a channel made anew.
    resolution, box, times
        The extent: zero-based voxels of that resolution (dataset offset taken away), and time
        points.
    folder
        Prefix of the job's input in the drop store.
    generation
        Raised by cancel and retry: what was sent before has no effect any more.
    propagate
        Start propagation when the job is complete; ``propagated`` says that this was done.
    version
        Of the row that it was read from.
    swept
        How many chunks were built when the sweeper last came by.
    digest
        The job root: BLAKE2b-160 over the digests of all chunks; empty until it is complete.
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
    version: int = field(default=0, compare=False)

    @property
    def partition(self) -> str:
        """Of the rows of the job's chunks, sets and errors."""
        return f"{JOBS}#{self.id}"

    @property
    def row(self) -> Row:
        """The row that holds the job."""
        doc = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in {"box", "version"}
        }
        doc |= {"v": _FORMAT, "start": self.box.start_xyz, "stop": self.box.stop_xyz}
        return Row(JOBS, self.id, doc=doc)

    @classmethod
    def from_row(cls, row: Row) -> "Job":
        """Return the job that a row holds."""
        doc = dict(row.doc)
        del doc["v"]
        start, stop = doc.pop("start"), doc.pop("stop")
        doc |= {
            "times": tuple(doc["times"]),
            "mode": Mode(doc["mode"]),
            "on_bad": Policy(doc["on_bad"]),
            "state": State(doc["state"]),
        }
        box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        return cls(**doc, box=box, version=row.version)

    def with_state(self, state: State, now: float, reason: str = "") -> "Job":
        """Return the job in another state."""
        ended = None if state.takes_input else now
        reason = reason[:LONGEST_REASON]
        return replace(self, state=state, ended_at=ended, beat_at=now, reason=reason)

    def check_takes_input(self) -> None:
        """Make sure that the job still takes slices.

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
    """Return whether a text may be the id of a job."""
    return _ID.fullmatch(text) is not None


def list_key(user_id: int, job_id: str) -> tuple[str, str]:
    """Return the keys of the row that lists a job among its owner's."""
    return f"ingests#{user_id}", job_id


def fetch_partition(job: Job, generation: int) -> str:
    """Return the partition of the rows that tell what was fetched for a job."""
    return f"{job.partition}#fetch#{generation}"


def channel_key(channel_uid: str, job_id: str) -> tuple[str, str]:
    """Return the keys of the row that lists a job among its channel's."""
    return f"ingest#channel#{channel_uid}", job_id


def message(job: Job, chunk: int, attempt: int = 1) -> Mapping[str, Any]:
    """Return the wake-up call to build a chunk.

    Parameters
    ----------
    attempt
        More than 1 where a try before has come to no end, as it seems.
    """
    call = {"v": _FORMAT, "job": job.id, "gen": job.generation, "chunk": chunk}
    return call if attempt == 1 else call | {"try": attempt}


def read_message(value: object) -> tuple[str, int, int, int]:
    """Return job, generation, chunk and attempt of a wake-up call.

    Raises
    ------
    InvalidArgumentError
        It is none of ours.
    """
    match value:
        case {"v": 1, "job": str(job_id), "gen": int(generation), "chunk": int(chunk), **rest}:
            attempt = rest.get("try", 1)
            if isinstance(attempt, int):
                return job_id, generation, chunk, attempt
    raise InvalidArgumentError("The message is not a version 1 call to build a chunk.")
