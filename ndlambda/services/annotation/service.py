"""The entry point for objects of annotation channels with their voxels.

Coordinates of objects are absolute (the dataset's offset at that resolution is included), except
those of whole cuboids. Boxes and points in requests are zero-based, unless a method says otherwise.
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
    """Changes and reads objects together with their voxels; ``Ramon`` handles fields alone.

    Parameters
    ----------
    writer, reader, merger
        The parts that do the work.
    """

    writer: AnnotationWriter
    reader: AnnotationReader
    merger: AnnotationMerger

    # writing

    def upload(
        self, dataset: Dataset, channel: Channel, items: Sequence[RamonItem], mode: WriteMode
    ) -> list[int]:
        """Store objects and paint their voxels, in the order of the items.

        Nothing is written before all items are checked. After a failure the same call may be
        repeated: for objects with ids of their own it is idempotent; objects without are issued
        other ids, and the first ones stay unused (voxels of an unfinished object may keep such an
        id, where the repetition does not paint over them).

        Parameters
        ----------
        dataset, channel
            The channel and its dataset.
        items
            Objects, with voxels or without; coordinates are absolute.
        mode
            How they combine with stored objects.

        Returns
        -------
        list of int
            The ids in the order of the items; empty with ``mode.data_only``.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel is not writable now, or has no ids left.
        InvalidArgumentError
            The channel is not an annotation channel; an id does not fit its voxels, is missing
            for an existing object, or occurs twice; a seed or neuron has voxels; a block has no
            corner; ``EXCEPTION`` with a block is requested of a channel without exceptions.
        AlreadyExistsError
            The id of a new object was used before. (If others of the body are missing, an object
            that is stored exactly as in the body is accepted: so an interrupted upload is
            completed.)
        NotFoundError
            An object to be updated, or a resolution, does not exist.
        OutOfBoundsError
            Voxels are outside the image.
        ValidationError
            A field of an object is invalid.
        ShapeMismatchError, DataTypeMismatchError
            Voxels are not integers in three columns, or a block not integers in three axes.
        PayloadTooLargeError
            There are too many voxels, or an object has too large values.
        ServerBusyError
            The server is busy with other large requests.
        WriteContentionError
            Others kept changing the same voxels or objects.
        """
        return self.writer.upload(dataset, channel, items, mode)

    def reserve(self, channel: Channel, count: int) -> int:
        """Reserve ``count`` consecutive ids; return the first.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel is not writable now, or has too few ids left.
        InvalidArgumentError
            The channel is not an annotation channel, or the count is not positive.
        """
        return self.writer.reserve(channel, count)

    def delete(self, channel: Channel, ids: Sequence[int]) -> list[int]:
        """Delete objects with their voxels; idempotent, also for ids without an object.

        Returns
        -------
        list of int
            Ids whose voxels a worker is still erasing; their objects are deleted.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel is not writable now.
        InvalidArgumentError
            The channel is not an annotation channel, or an id does not fit its voxels.
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
        """Merge objects into the first of them; idempotent.

        See ``AnnotationMerger.merge`` for parameters, result and errors.
        """
        return self.merger.merge(dataset, channel, ids, resolution=resolution, region=region)

    # reading

    def read(
        self, dataset: Dataset, channel: Channel, ids: Sequence[int], wanted: Wanted
    ) -> list[RamonItem]:
        """Return objects, their derived lists and the wanted data of their voxels.

        See ``AnnotationReader.read`` for coordinates and errors.
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
        """Return the label of one voxel, 0 if it has none; see ``AnnotationReader.label_at``."""
        return self.reader.label_at(dataset, channel, resolution, point_xyz, time_point)

    def labels_in(self, dataset: Dataset, channel: Channel, region: Region) -> list[int]:
        """Return the labels of a region, ascending; see ``AnnotationReader.labels_in``."""
        return self.reader.labels_in(dataset, channel, region)

    def query(
        self, dataset: Dataset, channel: Channel, query: ObjectQuery, region: Region | None = None
    ) -> list[int]:
        """Return the ids of objects for which all predicates hold, ascending.

        With a region, only objects with voxels in it; see ``AnnotationReader.query``.
        """
        return self.reader.query(dataset, channel, query, region)

    def exceptions(self, channel: Channel, region: Region) -> LabelledPoints:
        """Return the voxels with several labels; see ``AnnotationReader.exceptions``."""
        return self.reader.exceptions(channel, region)
