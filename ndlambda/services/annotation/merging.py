"""Relabels the voxels of merged objects: small ones in the request, large ones by the worker.

As with deletions, the job is stored in the transaction that retires the object, and ended when no
voxel has its label any more. So the worker completes a request that dies in between.

The survivor may concurrently be merged into another object or deleted, and its voxels relabelled or
erased before this merge paints with its label. So its state is read before and after, and if it
has changed, the new voxels are relabelled or erased, too.
"""

from collections.abc import Sequence
from functools import partial

from ndlambda.errors import WriteContentionError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.annotation import erasing
from ndlambda.services.annotation.erasing import measure
from ndlambda.services.catalog.deletion_job import EraseJob, EraseKind, merge_job_id
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.service import LabelService
from ndlambda.services.ramon.merge import RamonMerge
from ndlambda.stores.ports import Put


class ObjectMerge:
    """Merges objects, and relabels their voxels now or by a job.

    Parameters
    ----------
    index
        Tells how large an object is.
    labels, merges
        Relabels voxels, and merges objects without voxels.
    jobs
        The jobs of objects that are too large for a request.
    """

    def __init__(
        self, index: LabelIndex, labels: LabelService, merges: RamonMerge, jobs: EraseJobs
    ) -> None:
        self._index = index
        self._labels = labels
        self._merges = merges
        self._jobs = jobs

    def merge(
        self,
        dataset: Dataset,
        channel: Channel,
        survivor: int,
        losers: Sequence[int],
        resolution: int | None,
    ) -> list[int]:
        """Merge objects, and relabel their voxels or enqueue jobs for that; idempotent.

        Returns
        -------
        list of int
            Losers whose voxels a worker is still relabelling, as they are large or others keep
            painting them.

        Raises
        ------
        NotFoundError, InvalidArgumentError, WriteContentionError
            As ``RamonMerge.merge``.
        ReadOnlyChannelError, InvalidStateError
            The channel is not writable now.
        """
        self._merges.merge(channel, survivor, losers, partial(self._begin, channel, resolution))
        extent = measure(self._index, dataset, channel, losers, resolution)
        if not extent.large and extent.supercuboids <= erasing.LARGE_SUPERCUBOIDS:
            try:
                self.relabel(dataset, channel, losers, resolution)
            except WriteContentionError:
                pass  # the worker can retry for longer than a request
            else:
                self._jobs.end_all([merge_job_id(channel.uid, n, resolution) for n in losers])
                return []
        self._jobs.begin_all([self._job(channel, resolution, loser) for loser in losers])
        return list(losers)

    def relabel(
        self, dataset: Dataset, channel: Channel, losers: Sequence[int], resolution: int | None
    ) -> None:
        """Relabel the voxels of objects that were merged into one to its current successor.

        Idempotent, and may be interrupted.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel is not writable now.
        WriteContentionError
            Others keep painting one of the labels.
        """
        first, *others = losers
        descent = self._merges.descent(channel, first)
        while True:
            # A worker that died may have painted with any of the retired labels.
            retired, successor = descent
            labels = [*retired, *others]
            if successor is None:
                self._labels.erase_labels(dataset, channel, labels, resolution)
                return
            self._labels.merge_labels(dataset, channel, successor, labels, resolution)
            descent = self._merges.descent(channel, first)
            if descent == (retired, successor):
                return

    def complete(self, dataset: Dataset, channel: Channel, job: EraseJob) -> None:
        """Run a job of kind ``MERGE``; see ``relabel``."""
        self.relabel(dataset, channel, [job.label], job.resolution)
        self._merges.complete(channel, [job.label])

    def _begin(self, channel: Channel, resolution: int | None, loser: int) -> Put:
        (action,) = self._jobs.store_actions([self._job(channel, resolution, loser)])
        return action

    def _job(self, channel: Channel, resolution: int | None, loser: int) -> EraseJob:
        job_id = merge_job_id(channel.uid, loser, resolution)
        name = f"{channel.project}/{channel.name}"
        return self._jobs.new(job_id, EraseKind.MERGE, name, resolution)
