"""Objects of annotation channels with their voxels: the way in for routes and workers.

Coordinates of uploaded and of given objects are absolute (the dataset's offset at that resolution
is included), except those of whole cuboids. Boxes and points that are asked about are zero-based,
unless a method says otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.ramon import ObjectQuery
from ndlambda.services.annotation.merger import AnnotationMerger
from ndlambda.services.annotation.options import Wanted, WriteMode
from ndlambda.services.annotation.reader import AnnotationReader
from ndlambda.services.annotation.writer import AnnotationWriter
from ndlambda.services.labels.reader import LabelledPoints
from ndlambda.services.volume.region import Region
from ndlambda.space.box import XYZ
from ndlambda.wire.ramon.contract import RamonItem


@dataclass(frozen=True, slots=True)
class AnnotationService:
    """What is done with objects and their voxels together; fields alone are in ``Ramon``.

    Parameters
    ----------
    writer, reader, merger
        Who does it.
    """

    writer: AnnotationWriter
    reader: AnnotationReader
    merger: AnnotationMerger

    # writing

    def upload(
        self, dataset: Dataset, channel: Channel, items: Sequence[RamonItem], mode: WriteMode
    ) -> list[int]:
        """Store objects and paint their voxels; of several at one voxel the later is painted last.

        Nothing is written before all items are found to be in order. After a failure on the way
        the same call may be repeated: objects with ids of their own are then as if it had been
        made once; objects without are given other ids, and those given first stay unused (voxels
        of an object that was not completed may keep such an id, where the repetition does not
        paint over them).

        Parameters
        ----------
        dataset, channel
            Where.
        items
            Objects, with voxels or without; coordinates are absolute.
        mode
            How they meet what is there.

        Returns
        -------
        list of int
            The ids in the order of the items; none with ``mode.data_only``.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel takes no writes now, or has no ids left.
        InvalidArgumentError
            It is no annotation channel; an id does not fit its voxels, is missing where the object
            must be known, or occurs twice; voxels came with a seed or neuron, or a block without
            its corner; ``EXCEPTION`` is asked with a block of a channel without exceptions.
        AlreadyExistsError
            An object that should be new has an id that was used before. (Where others of the body
            are missing, one that is stored just as it is in the body is no fault: so an upload that
            broke off is completed.)
        NotFoundError
            An object to be updated, or a resolution, does not exist.
        OutOfBoundsError
            Voxels lie before the dataset's offset, or beyond what can be stored.
        ValidationError
            A field of an object is refused.
        ShapeMismatchError, DataTypeMismatchError
            Voxels are not integers in three columns, or a block not integers in three axes.
        PayloadTooLargeError
            Voxels, or values of an object, are more than are taken at once.
        QuotaExceededError
            The server is busy with other large requests.
        WriteContentionError
            Others kept changing the same voxels or objects.
        """
        return self.writer.upload(dataset, channel, items, mode)

    def reserve(self, channel: Channel, count: int) -> int:
        """Return the first of ``count`` consecutive ids that nobody else gets.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel takes no writes now, or has not so many ids left.
        InvalidArgumentError
            It is no annotation channel, or the count is not positive.
        """
        return self.writer.reserve(channel, count)

    def delete(self, channel: Channel, ids: Sequence[int]) -> list[int]:
        """Delete objects with their voxels; repeated, or of ids without object, it is success.

        Returns
        -------
        list of int
            Those whose voxels a worker is still erasing; their objects are gone.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel takes no writes now.
        InvalidArgumentError
            It is no annotation channel, or its voxels do not hold an id.
        WriteContentionError
            Others kept changing an object.
        """
        return self.writer.delete(channel, ids)

    def merge(
        self,
        dataset: Dataset,
        channel: Channel,
        ids: Sequence[int],
        *,
        resolution: int | None = None,
        region: Region | None = None,
    ) -> list[int]:
        """Merge objects into the first of them. May be repeated.

        Parameters
        ----------
        dataset, channel
            Where.
        ids
            The survivor and those that go into it; all have objects.
        resolution
            Relabel voxels of this resolution only; None: of all, at all times.
        region
            Relabel voxels of a box only, and keep the objects.

        Returns
        -------
        list of int
            Those whose voxels a worker is still relabelling; their objects are gone.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel takes no writes now.
        NotFoundError
            An id has no object.
        InvalidArgumentError
            It is no annotation channel, there is nothing to merge, or a seed or neuron is merged
            with something else.
        PayloadTooLargeError
            The voxels in the box are in more supercuboids than one call changes.
        WriteContentionError
            Others kept changing the same voxels or objects.
        """
        return self.merger.merge(dataset, channel, ids, resolution=resolution, region=region)

    # reading

    def read(
        self, dataset: Dataset, channel: Channel, ids: Sequence[int], wanted: Wanted
    ) -> list[RamonItem]:
        """Return objects, their derived lists and what is wanted of their voxels.

        The voxels of a neuron are those of its segments. An object without voxels is given with
        none.

        Parameters
        ----------
        dataset, channel, ids
            Which objects.
        wanted
            What of their voxels; a region that is wanted is zero-based.

        Returns
        -------
        list of RamonItem
            In the order of the ids; coordinates are absolute, except corners of cuboids.

        Raises
        ------
        NotFoundError
            An id has no object, or the dataset has no such resolution.
        InvalidArgumentError
            It is no annotation channel, or voxels of a seed are wanted.
        OutOfBoundsError, PayloadTooLargeError
            The region leaves the volume, or there is more than one call gives.
        QuotaExceededError
            The server is busy with other large requests.
        """
        return self.reader.read(dataset, channel, ids, wanted)

    def label_at(
        self,
        dataset: Dataset,
        channel: Channel,
        resolution: int,
        point_xyz: XYZ,
        time_point: int | None = None,
    ) -> int:
        """Return the label of one voxel, absolute coordinates; 0: it has none.

        Raises
        ------
        OutOfBoundsError
            The voxel lies outside.
        ResolutionNotFoundError
            The dataset has no such resolution.
        InvalidArgumentError
            It is no annotation channel.
        """
        return self.reader.label_at(dataset, channel, resolution, point_xyz, time_point)

    def labels_in(self, dataset: Dataset, channel: Channel, region: Region) -> list[int]:
        """Return the labels of a region, own and extra ones, ascending, without 0.

        Raises
        ------
        InvalidArgumentError
            It is no annotation channel.
        OutOfBoundsError, PayloadTooLargeError
            The region leaves the volume, or is larger than one call reads.
        """
        return self.reader.labels_in(dataset, channel, region)

    def query(
        self, dataset: Dataset, channel: Channel, query: ObjectQuery, region: Region | None = None
    ) -> list[int]:
        """Return the ids of objects for which all predicates hold, ascending.

        Parameters
        ----------
        dataset, channel, query
            What is asked.
        region
            Only objects with voxels in it; None: wherever they are.

        Raises
        ------
        InvalidArgumentError
            It is no annotation channel.
        OutOfBoundsError, PayloadTooLargeError
            The region leaves the volume, or is larger than one call reads.
        """
        return self.reader.query(dataset, channel, query, region)

    def exceptions(self, channel: Channel, region: Region) -> LabelledPoints:
        """Return the voxels of a region that have several labels.

        Raises
        ------
        InvalidArgumentError
            It is no annotation channel.
        OutOfBoundsError, PayloadTooLargeError
            The region leaves the volume, or is larger than one call reads.
        """
        return self.reader.exceptions(channel, region)
