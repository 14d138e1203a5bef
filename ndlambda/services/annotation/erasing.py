"""Erases the voxels of deleted objects: few in the request, many by the worker.

A job is stored in each transaction that deletes objects, and ended when their voxels are erased. So
the worker completes a request that dies in between.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain
from typing import Final

from ndlambda.batches import batched
from ndlambda.errors import WriteContentionError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.catalog.deletion_job import EraseJob, EraseKind, object_job_id
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from ndlambda.services.catalog.rows import CatalogRows
from ndlambda.services.labels.index import LabelIndex, LabelLayer
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.service import LabelService
from ndlambda.stores.ports import MAX_TRANSACTION, Put

LARGE_SUPERCUBOIDS: Final = 64
"""Objects in more supercuboids, at all resolutions and times together, are left to the worker."""

MAX_ERASED: Final = 1000
"""Of more objects a request erases none."""

MAX_SUPERCUBOIDS: Final = 1000
"""Supercuboids that a request rewrites to erase objects that are not large."""


class ObjectErasure:
    """Erases objects from the voxels, now or by jobs (implements ``ramon.ports.VoxelEraser``).

    Parameters
    ----------
    rows
        Finds the dataset of a channel.
    index
        Tells how large objects are.
    labels
        Erases labels.
    jobs
        The jobs of objects that are too many or too large for a request.
    """

    def __init__(
        self, rows: CatalogRows, index: LabelIndex, labels: LabelService, jobs: EraseJobs
    ) -> None:
        self._rows = rows
        self._index = index
        self._labels = labels
        self._jobs = jobs

    def begin_actions(self, channel: Channel, groups: Sequence[Sequence[int]]) -> list[Put]:
        """Return the actions that store the jobs of erasing groups of objects."""
        return self._jobs.store_actions([self._job(channel, ids) for ids in groups])

    def erase(
        self,
        channel: Channel,
        groups: Sequence[Sequence[int]],
        others: Sequence[int],
        merged: Collection[int],
    ) -> list[int]:
        """Erase objects at all resolutions and times, or let jobs erase them; idempotent.

        Parameters
        ----------
        channel
            The channel.
        groups, others, merged
            See ``VoxelEraser``.

        Returns
        -------
        list of int
            Ids that jobs still erase, as there are many, they are large, or others keep painting
            them. (Or a job is relabelling their voxels for the object that they were merged into.)

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel is not writable now.
        ProjectNotFoundError
            The channel's project was deleted.
        """
        # Voxels that are being relabelled belong to another object.
        merging = [number for number in merged if self._jobs.is_merging(channel.uid, number)]
        others = [number for number in others if number not in merging]
        labels = [*chain.from_iterable(groups), *others]
        jobs = [self._job(channel, group) for group in groups]
        large = self._erase_small(channel, labels)
        if large is None:
            more = [self._job(channel, some) for some in batched(others, MAX_TRANSACTION)]
            self._jobs.enqueue([job.id for job in jobs])
            self._jobs.begin_all(more)
            return [*merging, *labels]
        own = {job.id: job for job in (self._job(channel, [number]) for number in large)}
        self._jobs.begin_all(list(own.values()))
        self._jobs.end_all([job.id for job in jobs if job.id not in own])
        return [*merging, *large]

    def _erase_small(self, channel: Channel, labels: Sequence[int]) -> list[int] | None:
        """Erase all objects that are not large; return the others, or None if nothing is erased."""
        if len(labels) > MAX_ERASED:
            return None
        dataset = self._rows.dataset_of(channel.project)
        extent = measure(self._index, dataset, channel, labels)
        if extent.supercuboids > MAX_SUPERCUBOIDS:
            return None
        small = [label for label in labels if label not in extent.large]
        try:
            self._labels.erase_labels(dataset, channel, small)
        except WriteContentionError:
            return None  # the worker can retry for longer than a request
        return sorted(extent.large)

    def _job(self, channel: Channel, ids: Sequence[int]) -> EraseJob:
        first, *others = ids
        return self._jobs.new(
            object_job_id(channel.uid, first, others),
            EraseKind.OBJECT,
            f"{channel.project}/{channel.name}",
            others=others,
        )


@dataclass(frozen=True, slots=True)
class Extent:
    """How many supercuboids labels are in.

    Attributes
    ----------
    large
        The labels in more than ``LARGE_SUPERCUBOIDS``.
    supercuboids
        Those that all other labels are in together.
    """

    large: AbstractSet[int]
    supercuboids: int


def measure(
    index: LabelIndex,
    dataset: Dataset,
    channel: Channel,
    labels: Collection[int],
    resolution: int | None = None,
) -> Extent:
    """Return how many supercuboids (of one resolution) labels are in."""
    found: dict[int, set[tuple[LabelLayer, int]]] = defaultdict(set)
    large: set[int] = set()
    for page in index.entries_of(channel.uid, labels, skip=large):
        for entry in page:
            if entry.label in large or resolution not in {None, entry.scope.resolution}:
                continue
            volume = LabelVolume.of_scope(dataset, channel, entry.scope)
            own = found[entry.label]
            own.update((entry.scope, volume.supercuboid(code)[0]) for code in entry.codes)
            if len(own) > LARGE_SUPERCUBOIDS:
                large.add(entry.label)
                del found[entry.label]
    return Extent(large, len(set().union(*found.values())))
