"""Merging objects of an annotation channel: their voxels, then what is known of them."""

from collections.abc import Sequence

from ndlambda.errors import InvalidArgumentError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.label_volume import check_annotation
from ndlambda.services.labels import LabelService
from ndlambda.services.ramon import Ramon
from ndlambda.services.ramon_merge import RamonMerge
from ndlambda.services.region import Region


class AnnotationMerger:
    """Merges of objects with their voxels.

    The order is: look whether all objects are there; relabel the voxels; let the objects of the
    losers go into the survivor's. Every step may be done twice, and none hides from the next try
    what is left to do: as long as a loser has voxels or fields, the same call finds them. So a call
    that died anywhere is completed by its repetition.

    Voxels that somebody paints with a loser after they were looked for keep that label, as do those
    painted with any number that has no object.

    Parameters
    ----------
    labels, ramon, merges
        Voxels, objects, and how objects merge.
    """

    def __init__(self, labels: LabelService, ramon: Ramon, merges: RamonMerge) -> None:
        self._labels = labels
        self._ramon = ramon
        self._merges = merges

    def merge(
        self,
        dataset: Dataset,
        channel: Channel,
        ids: Sequence[int],
        *,
        resolution: int | None = None,
        region: Region | None = None,
    ) -> int:
        """Let objects go into the first of them, and give its id.

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

        Raises
        ------
        NotFoundError
            One of the ids has no object. (One that went into this survivor before may be named
            again, but for a region.)
        ResolutionNotFoundError, OutOfBoundsError
            The dataset has no such resolution or region.
        InvalidArgumentError
            There is but one id, the channel is no annotation channel, or both a resolution and a
            region are given.
        ReadOnlyChannelError, InvalidStateError
            The channel takes no writes now.
        WriteContentionError
            Others keep painting the losers or changing the objects; the call may be repeated.
        """
        check_annotation(channel)
        if resolution is not None and region is not None:
            raise InvalidArgumentError("A merge is limited to a resolution or to a region.")
        if len(set(ids)) < 2:
            raise InvalidArgumentError("A merge names a survivor and others beside it.")
        survivor, *losers = dict.fromkeys(ids)
        if region is not None:
            self._ramon.get_many(channel, [survivor, *losers])
            self._labels.merge_labels_in(channel, region, survivor, losers)
            return survivor
        if resolution is not None:
            dataset.pyramid.level(resolution)
        self._merges.check(channel, survivor, losers)
        self._labels.merge_labels(dataset, channel, survivor, losers, resolution)
        self._merges.merge(channel, survivor, losers)
        return survivor
