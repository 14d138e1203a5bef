"""Removes the uploads of jobs that have ended for good."""

from itertools import islice
from typing import Final

from ingest_queue.jobs.job import Job
from ingest_queue.jobs.keys import job_folder
from ingest_queue.jobs.ledger import Ledger
from ndlambda.services.support.watch import Look
from ndlambda.stores.ports import ObjectStore

GRACE_S: Final = 7200.0
"""Seconds after its end until a job receives nothing more: presigned uploads last an hour, builders
15 minutes."""

_MAX_DELETIONS: Final = 1000


class EndedJobs:
    """Removes the uploads of jobs in a final state, when the last of them must have come.

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
        self._most = max_deletions

    def remove(self, job: Job) -> Look:
        """Remove due uploads of an ended job."""
        if job.state.is_final:
            if not self._is_due(job):
                return Look.RESTS
            keys = [info.key for info in islice(self._drop.list(job_folder(job.id)), self._most)]
            for key in keys:
                self._drop.delete(key)
            if len(keys) == self._most:
                return Look.MOVES
        self._ledger.forget_ended(job.id)
        return Look.ENDED

    def _is_due(self, job: Job) -> bool:
        return job.ended_at is not None and self._ledger.now() - job.ended_at >= GRACE_S
