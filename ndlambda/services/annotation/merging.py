"""Relabelling the voxels of merged objects: few at once, many by the worker of deletions.

As with deletions, the job is stored in the transaction that retires the object, and ended when no
voxel has its label any more. So a request that dies in between is completed by the worker.

Meanwhile the survivor may go into another object, or be deleted, and be relabelled or erased
before what is painted with its label here. So one looks where it went before and after, and takes
what was painted along.
"""

from collections.abc import Sequence
from functools import partial

from ndlambda.errors import WriteContentionError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.annotation.erasing import is_large
from ndlambda.services.catalog.deletion_jobs import EraseJob, EraseJobs, EraseKind, merge_job_id
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
        Relabels, and merges what is known of objects.
    jobs
        Where what is too large for a request is left.
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
        """Merge objects, and relabel their voxels or call a worker to that; may be repeated.

        Returns
        -------
        list of int
            Losers whose voxels a worker is still relabelling: there is much to do, or others keep
            painting them.

        Raises
        ------
        NotFoundError, InvalidArgumentError, WriteContentionError
            As ``RamonMerge.merge``.
        ReadOnlyChannelError, InvalidStateError
            The channel takes no writes now.
        """
        self._merges.merge(channel, survivor, losers, partial(self._begin, channel, resolution))
        if not is_large(self._index, dataset, channel, losers, resolution):
            try:
                self.relabel(dataset, channel, losers, resolution)
            except WriteContentionError:
                pass  # the worker has more patience than a request
            else:
                self._jobs.end_all([merge_job_id(channel.uid, n, resolution) for n in losers])
                return []
        for loser in losers:
            self._jobs.begin(self._job(channel, resolution, loser))
        return list(losers)

    def relabel(
        self, dataset: Dataset, channel: Channel, losers: Sequence[int], resolution: int | None
    ) -> None:
        """Give the voxels of objects that went into one to whatever has become of that.

        Harmless when repeated or broken off.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel takes no writes now.
        WriteContentionError
            Others keep painting one of the labels.
        """
        first, *others = losers
        descent = self._merges.descent(channel, first)
        while True:
            # A worker that died may have painted with any of those that are gone meanwhile.
            gone, heir = descent
            labels = [*gone, *others]
            if heir is None:
                for label in labels:
                    self._labels.erase_label(dataset, channel, label, resolution)
                return
            self._labels.merge_labels(dataset, channel, heir, labels, resolution)
            descent = self._merges.descent(channel, first)
            if descent == (gone, heir):
                return

    def complete(self, dataset: Dataset, channel: Channel, job: EraseJob) -> None:
        """Do a job of kind ``MERGE``; as ``relabel``."""
        self.relabel(dataset, channel, [job.label], job.resolution)
        self._merges.complete(channel, [job.label])

    def _begin(self, channel: Channel, resolution: int | None, loser: int) -> Put:
        return self._jobs.put_action(self._job(channel, resolution, loser))

    def _job(self, channel: Channel, resolution: int | None, loser: int) -> EraseJob:
        job_id = merge_job_id(channel.uid, loser, resolution)
        name = f"{channel.project}/{channel.name}"
        return self._jobs.new(job_id, EraseKind.MERGE, name, resolution)
