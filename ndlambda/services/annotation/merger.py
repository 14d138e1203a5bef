"""Merging objects of an annotation channel: what is known of them, then their voxels."""

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
    """Merges of objects with their voxels.

    The order is: look whether all objects are there; let the objects of the losers go into the
    survivor's; relabel the voxels, or leave that to a worker where there are many. Every step may
    be done twice, so a call that died anywhere is completed by its repetition, or by the worker.

    Voxels that somebody paints with a loser after they were looked for keep that label, as do those
    painted with any number that has no object.

    Parameters
    ----------
    labels, ramon, merges
        Voxels, objects, and how objects merge.
    volume
        Knows which channels may be written, and how much at once.
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
        """Let objects go into the first of them.

        Parameters
        ----------
        dataset, channel
            Where.
        ids
            The survivor, then the others; repetitions count once.
        resolution
            Relabel voxels at this one only (ndstore's ``global/R/``); objects are merged wholly.
            Without it, at all resolutions and times.
        region
            Relabel voxels inside of it only, and keep all objects.

        Returns
        -------
        list of int
            Those whose voxels a worker is still relabelling; their objects are gone.

        Raises
        ------
        NotFoundError
            One of the ids has no object. (One that went into this survivor before may be named
            again, but for a region.)
        ResolutionNotFoundError, OutOfBoundsError
            The dataset has no such resolution or region.
        InvalidArgumentError
            There is but one id, a seed or neuron is merged with something else, the channel is no
            annotation channel, or both a resolution and a region are given.
        PayloadTooLargeError
            The voxels in the region are in too many supercuboids.
        ReadOnlyChannelError, InvalidStateError
            The channel takes no writes now.
        WriteContentionError
            Others keep changing the objects, or the voxels in the region; the call may be
            repeated.
        """
        check_annotation(channel)
        self._volume.check_writable(channel)
        if resolution is not None and region is not None:
            raise InvalidArgumentError("A merge is limited to a resolution or to a region.")
        if len(set(ids)) < 2:
            raise InvalidArgumentError("A merge names a survivor and others beside it.")
        survivor, *losers = dict.fromkeys(ids)
        if region is not None:
            check_types(self._ramon.get_many(channel, [survivor, *losers]))
            self._labels.merge_labels_in(channel, region, survivor, losers)
            return []
        if resolution is not None:
            dataset.pyramid.level(resolution)
        return self._merges.merge(dataset, channel, survivor, losers, resolution)
