"""Merges objects of an annotation channel: first the objects, then their voxels."""

from collections.abc import Sequence

from ndlambda.errors import InvalidArgumentError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.annotation.merging import ObjectMerge
from ndlambda.services.labels.layer import check_annotation
from ndlambda.services.labels.service import LabelService
from ndlambda.services.ramon.merge import check_types
from ndlambda.services.ramon.service import Ramon
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService


class AnnotationMerger:
    """Merges objects with their voxels.

    The order is: check that all objects exist; merge the losers' objects into the survivor's;
    relabel the voxels, or leave that to the worker if there are many. Every step is idempotent, so
    a call that died at any point is completed by its repetition or by the worker.

    Voxels that are painted with a loser after the search keep that label, as do voxels painted
    with any number that has no object.

    Parameters
    ----------
    labels, ramon, merges
        Voxels, objects, and merges of objects.
    volume
        Checks write access.
    """

    def __init__(
        self, labels: LabelService, ramon: Ramon, merges: ObjectMerge, volume: VolumeService
    ) -> None:
        self._labels = labels
        self._ramon = ramon
        self._merges = merges
        self._volume = volume

    def merge(
        self,
        dataset: Dataset,
        channel: Channel,
        ids: Sequence[int],
        *,
        resolution: int | None = None,
        region: Region | None = None,
    ) -> list[int]:
        """Merge objects into the first of them.

        Parameters
        ----------
        dataset, channel
            The channel and its dataset.
        ids
            The survivor, then the losers; repetitions count once.
        resolution
            Relabel voxels at this one only (ndstore's ``global/R/``); objects are merged anyway.
            None: at all resolutions and times.
        region
            Relabel voxels inside of it only, and keep all objects.

        Returns
        -------
        list of int
            Losers whose voxels a worker is still relabelling; their objects are merged.

        Raises
        ------
        NotFoundError
            One of the ids has no object. (A loser that was merged into this survivor before is
            accepted, except with a region.)
        ResolutionNotFoundError, OutOfBoundsError
            The dataset has no such resolution or region.
        InvalidArgumentError
            There is only one id, a seed or neuron is merged with another type, the channel is not
            an annotation channel, or both a resolution and a region are given.
        PayloadTooLargeError
            The voxels in the region are in too many supercuboids.
        ReadOnlyChannelError, InvalidStateError
            The channel is not writable now.
        WriteContentionError
            Others keep changing the objects, or the voxels in the region; the call may be
            repeated.
        """
        check_annotation(channel)
        self._volume.check_writable(channel)
        if resolution is not None and region is not None:
            raise InvalidArgumentError("A merge is limited to a resolution or to a region.")
        if len(set(ids)) < 2:
            raise InvalidArgumentError("A merge needs a survivor and at least one other id.")
        survivor, *losers = dict.fromkeys(ids)
        if region is not None:
            check_types(self._ramon.get_many(channel, [survivor, *losers]))
            self._labels.merge_labels_in(channel, region, survivor, losers)
            return []
        if resolution is not None:
            dataset.pyramid.level(resolution)
        return self._merges.merge(dataset, channel, survivor, losers, resolution)
