"""Removes the uploads of jobs that have ended for good."""

from typing import Final

from ingest_queue.jobs.job import Job
from ingest_queue.jobs.keys import job_folder
from ingest_queue.jobs.ledger import Ledger
from ndlambda.stores.ports import ObjectStore

GRACE_S: Final = 7200.0
"""Seconds after its end until a job receives nothing more: presigned uploads last an hour, builders
15 minutes."""

_MAX_DELETIONS: Final = 1000


class EndedJobs:
    """Removes the uploads of jobs in a final state.

    A job that can continue (failed, or complete with errors) keeps its uploads. Files in drop
    folders always stay.

    Parameters
    ----------
    max_deletions
        Bound on the objects removed in one run.
    """

    def __init__(
        self, ledger: Ledger, drop: ObjectStore, max_deletions: int = _MAX_DELETIONS
    ) -> None:
        self._ledger = ledger
        self._drop = drop
        self._max_deletions = max_deletions

    def sweep(self) -> int:
        """Remove due uploads, and return the number of removed objects."""
        deleted = 0
        for job_id, job in self._ledger.ended():
            if job is not None and job.state.is_final:
                if not self._is_due(job):
                    continue
                for info in self._drop.list(job_folder(job_id)):
                    if deleted == self._max_deletions:
                        return deleted
                    self._drop.delete(info.key)
                    deleted += 1
            self._ledger.forget_ended(job_id)
        return deleted

    def _is_due(self, job: Job) -> bool:
        return job.ended_at is not None and self._ledger.now() - job.ended_at >= GRACE_S
