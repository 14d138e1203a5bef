"""Erases and merges objects that are too large for a request."""

import logging
from dataclasses import replace
from typing import Final

from ndlambda.backoff import longest_pause_s
from ndlambda.errors import (
    ChannelNotFoundError,
    InvalidStateError,
    ProjectNotFoundError,
    ReadOnlyChannelError,
    WriteContentionError,
)
from ndlambda.services.annotation.merging import ObjectMerge
from ndlambda.services.catalog import keys
from ndlambda.services.catalog.deletion_job import MAX_DELAY_S, MAX_WAITS, EraseJob, EraseKind
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.catalog.rows import CatalogRows
from ndlambda.services.labels.service import LabelService

_log = logging.getLogger("ndlambda.deletion")

_REFUSED_S: Final = 60.0
"""Seconds until the worker retries when the channel is not writable, doubled each time."""


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
        try:
            if job.kind is EraseKind.MERGE:
                self._merges.complete(dataset, channel, job)
            else:
                self._labels.erase_labels(dataset, channel, job.labels)
        except (ReadOnlyChannelError, InvalidStateError, WriteContentionError) as error:
            if job.waits >= MAX_WAITS:
                raise
            _log.info("deletion job %s waits: %s", job.id, error.message)
            pause_s = longest_pause_s(job.waits, _REFUSED_S, MAX_DELAY_S)
            self._jobs.enqueue_later(replace(job, waits=job.waits + 1, tries=0), pause_s)
            return
        self._jobs.end(job.id)
