"""The worker's part in deleting and merging objects that are too large for a request."""

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
from ndlambda.services.catalog.deletion_jobs import LONGEST_DELAY_S, EraseJob, EraseJobs, EraseKind
from ndlambda.services.catalog.rows import CatalogRows
from ndlambda.services.labels.service import LabelService
from ndlambda.services.ramon.service import Ramon

_REFUSED_S: Final = 60.0
"""Seconds until the worker tries again where the channel takes no writes."""


class ObjectWorker:
    """Does jobs of the kinds ``OBJECT`` and ``MERGE``.

    Parameters
    ----------
    finder
        Knows whether the channel is still there.
    labels, ramon
        Erases the voxels of deleted objects, and notes that they are erased.
    merges
        Relabels those of merged objects.
    jobs
        Where the jobs are.
    """

    def __init__(
        self,
        finder: CatalogRows,
        labels: LabelService,
        ramon: Ramon,
        merges: ObjectMerge,
        jobs: EraseJobs,
    ) -> None:
        self._finder = finder
        self._labels = labels
        self._ramon = ramon
        self._merges = merges
        self._jobs = jobs

    def run(self, job: EraseJob) -> None:
        """Do a job and end it. Harmless when repeated or broken off.

        With the channel the job ends, too: another erases all that the channel had. While the
        channel takes no writes, or others keep painting the object, the job waits.
        """
        project, _, name = job.name.partition("/")
        try:
            dataset = self._finder.dataset_of(project)
            channel = keys.to_channel(self._finder.channel(project, name))
        except (ProjectNotFoundError, ChannelNotFoundError):
            self._jobs.end(job.id)
            return
        if channel.uid != job.channel_uid:
            self._jobs.end(job.id)
            return
        # No worker lives longer, so this one is not joined by another while it lives.
        self._jobs.postpone(job, LONGEST_DELAY_S)
        try:
            if job.kind is EraseKind.MERGE:
                self._merges.complete(dataset, channel, job)
            else:
                self._labels.erase_label(dataset, channel, job.label)
                self._ramon.finish_deletion(channel, job.label)
        except (ReadOnlyChannelError, InvalidStateError, WriteContentionError):
            self._jobs.call_later(job, _REFUSED_S)
            return
        self._jobs.end(job.id)
