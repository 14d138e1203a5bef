"""Propagations in the list of jobs of all kinds; the reference is the channel's uid and the run."""

from collections.abc import Mapping, Sequence

from ndlambda.errors import InvalidStateError, NotFoundError
from ndlambda.model.catalog import Channel
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.jobs.contract import JobStatus, JobView
from ndlambda.services.propagation.jobs import KIND, JobState, PropagationJob
from ndlambda.services.propagation.service import PropagationService

_STATES = {
    JobState.RUNNING: JobStatus.RUNNING,
    JobState.DONE: JobStatus.DONE,
    JobState.FAILED: JobStatus.FAILED,
    JobState.CANCELLED: JobStatus.CANCELLED,
}


class PropagationKind:
    """Implements ``JobKind``: the last run of each channel.

    Parameters
    ----------
    propagation, catalog
        The runs; the channels that they belong to.
    """

    kind = KIND

    def __init__(self, propagation: PropagationService, catalog: Catalog) -> None:
        self._propagation = propagation
        self._catalog = catalog

    def read(self, refs: Sequence[str]) -> Mapping[str, JobView]:
        """Return the jobs of some references; runs that newer ones replaced are left out."""
        found = self._propagation.last_jobs([ref.partition("#")[0] for ref in refs])
        views = {job.listed.ref: _view(job) for job in found.values()}
        return {ref: views[ref] for ref in refs if ref in views}

    def retry(self, ref: str) -> None:
        """Resume a run that failed or was cancelled.

        Raises
        ------
        InvalidStateError
            It runs or is done, or its channel is gone or closed.
        """
        job = self._find(ref)
        if job.state not in {JobState.FAILED, JobState.CANCELLED}:
            raise InvalidStateError(f"The propagation is {job.state}, not failed.")
        self._propagation.start(self._catalog.get_dataset(job.dataset), self._channel(job))

    def cancel(self, ref: str) -> None:
        """Cancel a run; what is built stays.

        Raises
        ------
        InvalidStateError
            It does not run, or its channel is gone.
        """
        job = self._find(ref)
        if job.state is not JobState.RUNNING:
            raise InvalidStateError(f"The propagation is {job.state}, not running.")
        self._propagation.cancel(self._channel(job))

    def _find(self, ref: str) -> PropagationJob:
        uid = ref.partition("#")[0]
        job = self._propagation.last_jobs([uid]).get(uid)
        if job is None or job.listed.ref != ref:
            raise NotFoundError("There is no such propagation any more.")
        return job

    def _channel(self, job: PropagationJob) -> Channel:
        try:
            channel = self._catalog.get_channel(job.project, job.channel)
        except NotFoundError as error:
            raise InvalidStateError("The channel of the propagation was deleted.") from error
        if channel.uid != job.uid:
            raise InvalidStateError("The channel of the propagation was deleted.")
        return channel


def _view(job: PropagationJob) -> JobView:
    is_done = job.state is JobState.DONE
    total = sum(job.tasks)
    return JobView(
        kind=KIND,
        ref=job.listed.ref,
        state=_STATES[job.state],
        created_at=job.started_at,
        token=job.token or None,
        channel=job.channel,
        reason=job.reason,
        tries=job.resumption,
        done=total if is_done else sum(job.tasks[: job.band]) + job.seen,
        total=total if is_done else None,  # later bands are not planned yet
        owner_id=job.owner_id,
    )
