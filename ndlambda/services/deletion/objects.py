"""Erases and merges objects that are too large for a request."""

from typing import Final

from ndlambda.errors import (
    ChannelNotFoundError,
    InvalidStateError,
    ProjectNotFoundError,
    ReadOnlyChannelError,
    WriteContentionError,
)
from ndlambda.services.annotation.merging import ObjectMerge
from ndlambda.services.catalog import keys
from ndlambda.services.catalog.deletion_jobs import MAX_DELAY_S, EraseJob, EraseJobs, EraseKind
from ndlambda.services.catalog.rows import CatalogRows
from ndlambda.services.labels.service import LabelService

_REFUSED_S: Final = 60.0
"""Seconds until the worker retries when the channel is not writable."""


class ObjectWorker:
    """Runs jobs of the kinds ``OBJECT`` and ``MERGE``.

    Parameters
    ----------
    rows
        Finds the channel, if it still exists.
    labels
        Erases the voxels of deleted objects.
    merges
        Relabels the voxels of merged objects.
    jobs
        The rows of jobs.
    """

    def __init__(
        self,
        rows: CatalogRows,
        labels: LabelService,
        merges: ObjectMerge,
        jobs: EraseJobs,
    ) -> None:
        self._rows = rows
        self._labels = labels
        self._merges = merges
        self._jobs = jobs

    def run(self, job: EraseJob) -> None:
        """Run a job and end it; idempotent, and may be interrupted.

        The job ends if the channel was deleted: another job deletes all of the channel. While the
        channel is not writable, or others keep painting the object, the job waits.
        """
        project, _, name = job.name.partition("/")
        try:
            dataset = self._rows.dataset_of(project)
            channel = keys.to_channel(self._rows.channel(project, name))
        except (ProjectNotFoundError, ChannelNotFoundError):
            self._jobs.end(job.id)
            return
        if channel.uid != job.channel_uid:
            self._jobs.end(job.id)
            return
        # No worker lives longer, so no second one is enqueued while this one lives.
        self._jobs.postpone(job, MAX_DELAY_S)
        try:
            if job.kind is EraseKind.MERGE:
                self._merges.complete(dataset, channel, job)
            else:
                self._labels.erase_labels(dataset, channel, job.labels)
        except (ReadOnlyChannelError, InvalidStateError, WriteContentionError):
            self._jobs.enqueue_later(job, _REFUSED_S)
            return
        self._jobs.end(job.id)
