"""Deletions and merges in the list of jobs of all kinds; the reference is the job's id."""

from collections.abc import Mapping, Sequence
from typing import Final

from ndlambda.errors import InvalidStateError
from ndlambda.services.catalog.deletion_job import (
    DELETION,
    MERGE,
    EraseJob,
    EraseRecord,
    EraseState,
)
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.jobs.contract import JobStatus, JobView

_WHY_NOT: Final = {
    DELETION: "A deletion cannot be cancelled: what it deletes is not found any more.",
    MERGE: "A merge cannot be cancelled: its objects are one already, and only voxels lag behind.",
}


class DeletionKind:
    """Implements ``JobKind`` for deletions, or for merges.

    Parameters
    ----------
    kind
        ``DELETION`` or ``MERGE``.
    jobs
        The rows of jobs.
    """

    def __init__(self, kind: str, jobs: EraseJobs) -> None:
        self.kind = kind
        self._jobs = jobs

    def read(self, refs: Sequence[str]) -> Mapping[str, JobView]:
        """Return the jobs of some references; ended ones until their records expire."""
        jobs, records = self._jobs.find_all(refs)
        return {
            ref: _view(record, jobs.get(ref))
            for ref, record in records.items()
            if record.listed.kind == self.kind
        }

    def retry(self, ref: str) -> None:
        """Let a failed job go on where it stopped.

        Raises
        ------
        InvalidStateError
            It did not fail.
        """
        self._jobs.retry(ref)

    def cancel(self, ref: str) -> None:
        """Refuse.

        Raises
        ------
        InvalidStateError
            Always.
        """
        raise InvalidStateError(_WHY_NOT[self.kind], job=ref)


def _view(record: EraseRecord, job: EraseJob | None) -> JobView:
    _, _, channel = record.job.name.partition("/")
    return JobView(
        kind=record.listed.kind,
        ref=record.job.id,
        state=_state(job),
        created_at=record.job.deleted_at,
        channel=channel or None,
        reason="" if job is None else job.reason,
        tries=0 if job is None else job.tries,
        owner_id=record.owner_id,
    )


def _state(job: EraseJob | None) -> JobStatus:
    if job is None:
        return JobStatus.DONE
    if job.state is EraseState.FAILED:
        return JobStatus.FAILED
    is_new = not (job.begun or job.swept or job.tries or job.waits)
    return JobStatus.QUEUED if is_new else JobStatus.RUNNING
