"""Erases the voxels of deleted objects: small ones in the request, large ones by the worker.

The job is stored in the transaction that deletes the object, and ended in the one that records that
its voxels are erased. So the worker completes a request that dies in between.
"""

from collections.abc import Collection
from typing import Final

from ndlambda.errors import WriteContentionError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.catalog.deletion_job import EraseJob, EraseKind, object_job_id
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.catalog.rows import CatalogRows
from ndlambda.services.labels.index import LabelIndex, LabelLayer
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.service import LabelService
from ndlambda.stores.ports import Delete, Put

LARGE_SUPERCUBOIDS: Final = 64
"""Objects in more supercuboids, at all resolutions and times together, are left to the worker."""


class ObjectErasure:
    """Erases objects from the voxels, now or by a job (implements ``ramon.ports.VoxelEraser``).

    Parameters
    ----------
    rows
        Finds the dataset of a channel.
    index
        Tells how large an object is.
    labels
        Erases labels.
    jobs
        The jobs of objects that are too large for a request.
    """

    def __init__(
        self, rows: CatalogRows, index: LabelIndex, labels: LabelService, jobs: EraseJobs
    ) -> None:
        self._rows = rows
        self._index = index
        self._labels = labels
        self._jobs = jobs

    def begin_action(self, channel: Channel, annotation_id: int) -> Put:
        """Return the action that stores the job of erasing an object."""
        return self._jobs.put_action(self._job(channel, annotation_id))

    def end_action(self, channel: Channel, annotation_id: int) -> Delete:
        """Return the action that ends the job of erasing an object."""
        return self._jobs.delete_action(object_job_id(channel.uid, annotation_id))

    def erase(self, channel: Channel, annotation_id: int) -> bool:
        """Erase an object at all resolutions and times, or enqueue a job for that; idempotent.

        Returns
        -------
        bool
            Whether it is erased. Otherwise a job is enqueued, as the object is large or others
            keep painting it. (Or a job is relabelling its voxels for the object that it was merged
            into.)

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel is not writable now.
        ProjectNotFoundError
            The channel's project was deleted.
        """
        if self._jobs.is_merging(channel.uid, annotation_id):
            return False  # its voxels belong to another object
        dataset = self._rows.dataset_of(channel.project)
        if not is_large(self._index, dataset, channel, [annotation_id]):
            try:
                self._labels.erase_label(dataset, channel, annotation_id)
            except WriteContentionError:
                pass  # the worker can retry for longer than a request
            else:
                return True
        self._jobs.begin(self._job(channel, annotation_id))
        return False

    def _job(self, channel: Channel, annotation_id: int) -> EraseJob:
        job_id = object_job_id(channel.uid, annotation_id)
        return self._jobs.new(job_id, EraseKind.OBJECT, f"{channel.project}/{channel.name}")


def is_large(
    index: LabelIndex,
    dataset: Dataset,
    channel: Channel,
    labels: Collection[int],
    resolution: int | None = None,
) -> bool:
    """Return whether labels are in more supercuboids (of one resolution) than a request changes."""
    volumes: dict[LabelLayer, LabelVolume] = {}
    found: set[tuple[LabelLayer, int]] = set()
    for label in labels:
        for page in index.entries(channel.uid, label):
            for entry in page:
                if resolution not in {None, entry.scope.resolution}:
                    continue
                volume = volumes.get(entry.scope)
                if volume is None:
                    volume = LabelVolume.of_scope(dataset, channel, entry.scope)
                    volumes[entry.scope] = volume
                found.update((entry.scope, volume.supercuboid(code)[0]) for code in entry.codes)
            if len(found) > LARGE_SUPERCUBOIDS:
                return True
    return False
