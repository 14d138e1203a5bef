"""What was uploaded to jobs that have ended, and is of no more use."""

from typing import Final

from ingest_queue.jobs.job import Job
from ingest_queue.jobs.keys import job_folder
from ingest_queue.jobs.ledger import Ledger
from ndlambda.stores.ports import ObjectStore

GRACE_S: Final = 7200.0
"""Seconds behind its end after which nothing more comes to a job: permissions to upload last for an
hour, builders for a quarter of one."""

_MOST_DELETIONS: Final = 1000


class EndedJobs:
    """Jobs whose end is final, until their uploads are removed.

    One that can still go on (failed, or complete with errors) keeps its uploads, and what people
    copied into folders of their own stays always.

    Parameters
    ----------
    ledger, drop
        Where jobs and uploads are.
    most_deletions
        Objects that a run removes.
    """

    def __init__(
        self, ledger: Ledger, drop: ObjectStore, most_deletions: int = _MOST_DELETIONS
    ) -> None:
        self._ledger = ledger
        self._drop = drop
        self._most = most_deletions

    def sweep(self) -> int:
        """Remove what is due, and return how many objects that were."""
        deleted = 0
        for job_id, job in self._ledger.ended():
            if job is not None and job.state.is_final:
                if not self._is_due(job):
                    continue
                for info in self._drop.list(job_folder(job_id)):
                    if deleted == self._most:
                        return deleted
                    self._drop.delete(info.key)
                    deleted += 1
            self._ledger.forget_ended(job_id)
        return deleted

    def _is_due(self, job: Job) -> bool:
        return job.ended_at is not None and self._ledger.now() - job.ended_at >= GRACE_S
