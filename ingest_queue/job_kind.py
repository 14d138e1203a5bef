"""Ingest jobs in the list of jobs of all kinds; the reference is the job's id."""

from collections.abc import Mapping, Sequence

from ingest_queue.fetch.worker import Fetcher
from ingest_queue.jobs.job import KIND, Job, State
from ingest_queue.service import IngestService
from ndlambda.errors import InvalidStateError
from ndlambda.services.jobs.contract import JobStatus, JobView

_STATES = {
    State.CREATED: JobStatus.QUEUED,
    State.INGESTING: JobStatus.RUNNING,
    State.COMPLETE: JobStatus.DONE,
    State.COMPLETE_WITH_ERRORS: JobStatus.DONE,
    State.FAILED: JobStatus.FAILED,
    State.CANCELLED: JobStatus.CANCELLED,
}


class IngestKind:
    """Implements ``JobKind``.

    Parameters
    ----------
    ingest, fetcher
        The jobs; retries those that are fetched, too.
    """

    kind = KIND

    def __init__(self, ingest: IngestService, fetcher: Fetcher) -> None:
        self._ingest = ingest
        self._fetcher = fetcher

    def read(self, refs: Sequence[str]) -> Mapping[str, JobView]:
        """Return the jobs of some references."""
        return {ref: _view(job) for ref, job in self._ingest.ledger.find_all(refs).items()}

    def retry(self, ref: str) -> None:
        """Resume a job that failed.

        Raises
        ------
        InvalidStateError
            It did not fail, or its channel was deleted.
        """
        job = self._ingest.ledger.get(ref)
        if job.state is not State.FAILED:
            raise InvalidStateError(f"Ingest job {ref} is {job.state}, not failed.")
        self._fetcher.retry(job)

    def cancel(self, ref: str) -> None:
        """Cancel a job; stored voxels stay.

        Raises
        ------
        InvalidStateError
            It is complete, or cancelled already.
        """
        job = self._ingest.ledger.get(ref)
        if job.state is State.CANCELLED:
            raise InvalidStateError(f"Ingest job {ref} is cancelled.")
        self._ingest.cancel(job)


def _view(job: Job) -> JobView:
    total = job.chunks or None
    return JobView(
        kind=KIND,
        ref=job.id,
        state=_STATES[job.state],
        created_at=job.created_at,
        token=job.token,
        channel=job.channel,
        reason=job.reason,
        tries=job.generation - 1,
        done=total if job.state.is_complete else max(job.swept, 0),
        total=total,
        owner_id=job.owner_id,
    )
