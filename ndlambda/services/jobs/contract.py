"""What every kind of job shows of itself, and what a person may ask of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

_ID: Final = re.compile(r"[a-z]+-[0-9a-z.]+")


class JobStatus(StrEnum):
    """The state of a job of any kind."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    DONE = "DONE"


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it is shown.

    Attributes
    ----------
    kind, ref
        The kind, and the id of the job among its kind.
    token, channel
        Of what it works on; None where it names none.
    reason
        Why it failed; empty otherwise.
    tries
        Failed runs in a row, or how often it was retried, as the kind counts.
    done, total
        How far it is, in units of the kind; None: unknown.
    owner_id
        The user whose job it is; None: nobody's.
    created_at
        Unix seconds.
    """

    kind: str
    ref: str
    state: JobStatus
    created_at: float
    token: str | None = None
    channel: str | None = None
    reason: str = ""
    tries: int = 0
    done: int | None = None
    total: int | None = None
    owner_id: int | None = None

    @property
    def id(self) -> str:
        """The id among the jobs of all kinds."""
        return job_id(self.kind, self.ref)


class JobKind(Protocol):
    """One kind of job, read from the rows of its room."""

    @property
    def kind(self) -> str:
        """The name, which begins the ids of its jobs: small letters."""
        ...

    def read(self, refs: Sequence[str]) -> Mapping[str, JobView]:
        """Return the jobs of some references in few requests; those that are gone are left out."""
        ...

    def retry(self, ref: str) -> None:
        """Let a job go on that failed or was cancelled.

        Raises
        ------
        InvalidStateError
            Its state does not allow that.
        """
        ...

    def cancel(self, ref: str) -> None:
        """End a job before it is done.

        Raises
        ------
        InvalidStateError
            Its state, or its kind, does not allow that.
        """
        ...


def job_id(kind: str, ref: str) -> str:
    """Return the id of a job among those of all kinds, which is safe in URLs."""
    return f"{kind}-{ref.replace('#', '.')}"


def parse_job_id(text: str) -> tuple[str, str] | None:
    """Return kind and reference of an id, None if it is none."""
    if _ID.fullmatch(text) is None:
        return None
    kind, _, ref = text.partition("-")
    return kind, ref.replace(".", "#")
