"""Erasing the voxels of deleted objects: few at once, many by the worker of deletions.

The job is stored in the transaction that deletes the object, and ended in the one that notes that
its voxels are erased. So a request that dies in between is completed by the worker.
"""

from typing import Final

from ndlambda.errors import (
    ChannelNotFoundError,
    InvalidStateError,
    ProjectNotFoundError,
    ReadOnlyChannelError,
    WriteContentionError,
)
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services import rows
from ndlambda.services.erase_jobs import (
    LONGEST_DELAY_S,
    EraseJob,
    EraseJobs,
    EraseKind,
    object_job_id,
)
from ndlambda.services.finder import Finder
from ndlambda.services.label_index import LabelIndex, Scope
from ndlambda.services.label_volume import LabelVolume
from ndlambda.services.labels import LabelService
from ndlambda.services.ramon import Ramon
from ndlambda.stores.ports import Delete, Put

LARGE_SUPERCUBOIDS: Final = 64
"""An object in more supercuboids, at all resolutions and times together, is left to the worker."""

_REFUSED_S: Final = 60.0
"""Seconds until the worker tries again where the channel takes no writes."""


class ObjectErasure:
    """Takes objects out of the voxels, now or by a job (``ramon_ports.VoxelEraser``).

    Parameters
    ----------
    finder
        Knows the dataset of a channel.
    index
        Tells how large an object is.
    labels
        Erases.
    jobs
        Where what is too large for a request is left.
    """

    def __init__(
        self, finder: Finder, index: LabelIndex, labels: LabelService, jobs: EraseJobs
    ) -> None:
        self._finder = finder
        self._index = index
        self._labels = labels
        self._jobs = jobs

    def begin_action(self, channel: Channel, annotation_id: int) -> Put:
        """Give what stores the job of erasing an object; it is overdue before long."""
        return self._jobs.put_action(self._job(channel, annotation_id))

    def end_action(self, channel: Channel, annotation_id: int) -> Delete:
        """Give what ends the job of erasing an object."""
        return self._jobs.delete_action(object_job_id(channel.uid, annotation_id))

    def erase(self, channel: Channel, annotation_id: int) -> bool:
        """Erase an object at all resolutions and times, or call a worker to it; may be repeated.

        Returns
        -------
        bool
            Whether it is erased. Otherwise a job is stored and called for: there is much to do, or
            others keep painting the object.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel takes no writes now.
        ProjectNotFoundError
            The channel's project is gone.
        """
        dataset = _dataset(self._finder, channel.project)
        if not self._is_large(dataset, channel, annotation_id):
            try:
                self._labels.erase_label(dataset, channel, annotation_id)
            except WriteContentionError:
                pass  # the worker has more patience than a request
            else:
                return True
        self._jobs.begin(self._job(channel, annotation_id))
        return False

    def _job(self, channel: Channel, annotation_id: int) -> EraseJob:
        job_id = object_job_id(channel.uid, annotation_id)
        return self._jobs.new(job_id, EraseKind.OBJECT, f"{channel.project}/{channel.name}")

    def _is_large(self, dataset: Dataset, channel: Channel, label: int) -> bool:
        volumes: dict[Scope, LabelVolume] = {}
        found: set[tuple[Scope, int]] = set()
        for page in self._index.entries(channel.uid, label):
            for entry in page:
                volume = volumes.get(entry.scope)
                if volume is None:
                    volume = LabelVolume.of_scope(dataset, channel, entry.scope)
                    volumes[entry.scope] = volume
                found.update((entry.scope, volume.supercuboid(code)[0]) for code in entry.codes)
            if len(found) > LARGE_SUPERCUBOIDS:
                return True
        return False


class ObjectErasureWorker:
    """Does jobs of kind ``OBJECT``.

    Parameters
    ----------
    finder
        Knows whether the channel is still there.
    labels, ramon
        Erases the voxels, and notes that they are erased.
    jobs
        Where the jobs are.
    """

    def __init__(self, finder: Finder, labels: LabelService, ramon: Ramon, jobs: EraseJobs) -> None:
        self._finder = finder
        self._labels = labels
        self._ramon = ramon
        self._jobs = jobs

    def run(self, job: EraseJob) -> None:
        """Erase the voxels of an object and end its job. Harmless when repeated or broken off.

        With the channel the job ends, too: another erases all that the channel had. While the
        channel takes no writes, or others keep painting the object, the job waits.
        """
        project, _, name = job.name.partition("/")
        try:
            dataset = _dataset(self._finder, project)
            channel = rows.to_channel(self._finder.channel(project, name))
        except (ProjectNotFoundError, ChannelNotFoundError):
            self._jobs.end(job.id)
            return
        if channel.uid != job.channel_uid:
            self._jobs.end(job.id)
            return
        # No worker lives longer, so this one is not joined by another while it lives.
        self._jobs.postpone(job, LONGEST_DELAY_S)
        try:
            self._labels.erase_label(dataset, channel, job.label)
            self._ramon.finish_deletion(channel, job.label)
        except (ReadOnlyChannelError, InvalidStateError, WriteContentionError):
            self._jobs.call_later(job, _REFUSED_S)
            return
        self._jobs.end(job.id)


def _dataset(finder: Finder, project: str) -> Dataset:
    _, row = finder.project(project)
    return rows.to_dataset(row)
