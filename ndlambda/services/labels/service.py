"""Paints, erases and merges labels of annotation channels.

Boxes and points are zero-based voxels of one resolution (dataset offset already subtracted). Every
change keeps the index a superset of the stored labels (``painter``), and excludes every painted
label from the free ids (``ids``).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.codec import is_zero
from ndlambda.cuboids.label_block import Change, LabelBlock
from ndlambda.cuboids.layout import needed_slots
from ndlambda.errors import (
    DataTypeMismatchError,
    InvalidArgumentError,
    PayloadTooLargeError,
    ShapeMismatchError,
)
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.discipline import Discipline
from ndlambda.services.labels.ids import LabelIds, check_label
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.layer import LabelVolume, check_annotation
from ndlambda.services.labels.painter import Edit, LabelPainter
from ndlambda.services.labels.reader import LabelReader
from ndlambda.services.labels.rewrite import LabelRewrite, PartEdit
from ndlambda.services.labels.sweep import LabelSweep
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService
from ndlambda.services.volume.touched import TouchedSupercuboids
from ndlambda.space.box import Box
from ndlambda.space.grid import Cell, cover
from ndlambda.space.morton import encode_indices
from ndlambda.stores.ports import ObjectStore, Table
from ndlambda.voxels.paint import Stroke


class LabelService:
    """Changes labels; ``read`` reads them, ``ids`` issues ids, ``sweeper`` cleans the index.

    Parameters
    ----------
    objects, table
        The stores of supercuboids and index rows.
    volume
        Checks limits and write access, and tracks writes.
    executor
        Threads, one for each supercuboid in work.
    options
        Retry limits, write-ids and size limits.
    """

    def __init__(
        self,
        objects: ObjectStore,
        table: Table,
        volume: VolumeService,
        executor: Executor,
        options: VolumeOptions,
    ) -> None:
        self._options = options
        self._volume = volume
        self._index = LabelIndex(table)
        self._painter = LabelPainter(objects, self._index, executor, self._options)
        self.ids = LabelIds(table)
        self.read = LabelReader(objects, self._index, executor)
        self.sweeper = LabelSweep(objects, self._index, executor, self._options)
        self._rewrite = LabelRewrite(self._index, self._painter, self.sweeper, volume.marks)

    def paint(
        self, channel: Channel, region: Region, labels: NDArray[Any], discipline: Discipline
    ) -> None:
        """Paint the non-zero voxels of an array over a region; zeros never erase.

        Idempotent: a call that fails half-way may be repeated. The labels are claimed first, so
        that none of them is issued as a new id later.

        Parameters
        ----------
        channel, region
            The region to paint.
        labels
            (t, z, y, x), the region's shape, the channel's dtype.
        discipline
            How labels combine; with ``REDUCE`` voxels that have the label of the array lose it.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel is not writable now.
        InvalidArgumentError
            The channel is not an annotation channel, or has no exceptions for ``EXCEPTION``.
        OutOfBoundsError, PayloadTooLargeError
            See ``VolumeService.check_size``; the latter also for too many extra labels.
        ShapeMismatchError, DataTypeMismatchError
            The array does not fit.
        WriteContentionError
            The conditional write of a supercuboid kept failing.
        """
        volumes = list(self._volumes(channel, region, labels))
        if discipline is Discipline.EXCEPTION and not channel.exceptions:
            raise InvalidArgumentError(f"Channel {channel.name!r} has no exceptions.")
        if is_zero(labels):
            return
        if discipline is not Discipline.REDUCE:
            self.ids.claim_all(channel, labels)

        def edits() -> Iterator[tuple[LabelVolume, int, Edit]]:
            for volume, array in zip(volumes, labels, strict=True):
                for cell in cover(region.box, volume.layout.supercuboid_xyz):
                    values = array[cell.part.slices_zyx(region.box.start_xyz)]
                    if not is_zero(values):
                        yield volume, cell.code, partial(_dense, volume, cell, values, discipline)

        with self._volume.marks.track_write(
            channel, partial(TouchedSupercuboids.by_region, channel, region)
        ):
            self._painter.edit_all(edits())

    def paint_voxels(
        self,
        volume: LabelVolume,
        points_xyz: NDArray[np.integer],
        labels: int | NDArray[Any],
        discipline: Discipline,
    ) -> None:
        """Paint the voxels of a list in order; see ``paint``.

        On a channel without exceptions, ``EXCEPTION`` leaves voxels of other labels alone.

        Parameters
        ----------
        volume
            The volume to paint.
        points_xyz
            Shape (n, 3), columns x, y, z, integers.
        labels
            One label for all voxels, or one for each: shape (n,), the channel's dtype.
        discipline
            How labels combine.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel is not writable now.
        InvalidArgumentError
            A label does not fit the channel (``check_label``).
        ShapeMismatchError, DataTypeMismatchError
            The shape or dtype of the points or labels is wrong.
        OutOfBoundsError
            A voxel is outside the image.
        PayloadTooLargeError
            The list is too long, or there would be too many extra labels.
        WriteContentionError
            The conditional write of a supercuboid kept failing.
        """
        channel = volume.channel
        self._volume.check_writable(channel)
        volume.check_points(points_xyz)
        self._check_count(len(points_xyz))
        _check_labels(channel, labels, len(points_xyz))
        if not len(points_xyz):
            return
        each = np.broadcast_to(np.asarray(labels, channel.dtype), len(points_xyz))
        if discipline is Discipline.EXCEPTION and not channel.exceptions:
            discipline = Discipline.PRESERVE
        if discipline is not Discipline.REDUCE:
            self.ids.claim_all(channel, each)
        touched = partial(
            TouchedSupercuboids.by_points, channel, volume.level, volume.time_point, points_xyz
        )
        with self._volume.marks.track_write(channel, touched):
            self._painter.edit_all(
                (volume, code, partial(_strokes, strokes, discipline))
                for code, strokes in _by_supercuboid(volume, points_xyz, each)
            )

    def erase_labels(
        self,
        dataset: Dataset,
        channel: Channel,
        labels: Collection[int],
        resolution: int | None = None,
    ) -> None:
        """Erase labels, own and extra, at all times, at all resolutions or at one.

        Their index rows are removed, too. Idempotent; an unused label is no error. The supercuboids
        of all labels are rewritten in one pass.

        Raises
        ------
        InvalidArgumentError
            The channel is not an annotation channel.
        ReadOnlyChannelError, InvalidStateError
            The channel is not writable now.
        WriteContentionError
            Others keep painting one of the labels.
        """
        check_annotation(channel)
        self._volume.check_writable(channel)
        edit = partial(_erased, np.array(sorted(labels), np.uint64))
        self._rewrite.until_removed(dataset, channel, labels, edit, resolution)

    def merge_labels(
        self,
        dataset: Dataset,
        channel: Channel,
        survivor: int,
        losers: Collection[int],
        resolution: int | None = None,
    ) -> None:
        """Replace labels, own and extra, by one; the scope is that of ``erase_labels``.

        A voxel that had the survivor and losers has the survivor once. Idempotent.

        Raises
        ------
        InvalidArgumentError
            The channel is not an annotation channel, the survivor does not fit it
            (``check_label``), or is among the losers.
        ReadOnlyChannelError, InvalidStateError
            The channel is not writable now.
        WriteContentionError
            Others keep painting a loser.
        """
        edit = self._merge_edit(channel, survivor, losers)
        self._rewrite.until_removed(dataset, channel, losers, edit, resolution)

    def merge_labels_in(
        self, channel: Channel, region: Region, survivor: int, losers: Collection[int]
    ) -> None:
        """Replace labels by one inside a region only.

        Raises
        ------
        OutOfBoundsError
            The region exceeds the volume.
        InvalidArgumentError, ReadOnlyChannelError, InvalidStateError
            As ``merge_labels``; the first also for a near-isotropic region.
        PayloadTooLargeError
            The labels are in too many supercuboids there.
        WriteContentionError
            The conditional write of a supercuboid kept failing.
        """
        edit = self._merge_edit(channel, survivor, losers)
        region.check()
        first, stop = region.times
        self._volume.check_read((stop - first) * len(losers))  # each asks the index
        self._rewrite.in_region(channel, region, losers, edit, self.check_painted)

    def check_painted(self, supercuboids: int) -> None:
        """Refuse more supercuboids than one call may change; see ``VolumeOptions``."""
        self._options.check_painted(supercuboids)

    def _merge_edit(self, channel: Channel, survivor: int, losers: Collection[int]) -> PartEdit:
        check_annotation(channel)
        self._volume.check_writable(channel)
        if survivor in losers:
            raise InvalidArgumentError(f"Label {survivor} cannot be merged into itself.")
        self.ids.claim(channel, survivor)
        return partial(_merged, np.array(sorted(losers), np.uint64), survivor)

    def _volumes(
        self, channel: Channel, region: Region, labels: NDArray[Any]
    ) -> Iterable[LabelVolume]:
        volumes = LabelVolume.of_region(channel, region)
        self._volume.check_writable(channel)
        self._volume.check_size(region, channel)
        if labels.shape != region.shape_tzyx:
            raise ShapeMismatchError(
                f"The labels have shape {labels.shape}, the region {region.shape_tzyx}."
            )
        if labels.dtype != channel.dtype:
            raise DataTypeMismatchError(
                f"The labels have type {labels.dtype}, the channel {channel.dtype}."
            )
        return volumes

    def _check_count(self, points: int) -> None:
        limit = self._options.cutout_voxels
        if points > limit:
            raise PayloadTooLargeError(
                f"{points} voxels exceed the limit of {limit}; paint in parts.",
                limit=limit,
                asked=points,
            )


def _dense(
    volume: LabelVolume,
    cell: Cell,
    values: NDArray[Any],
    discipline: Discipline,
    block: LabelBlock,
) -> Change:
    x, y, z = cell.box.start_xyz
    shape_zyx = volume.layout.cuboid_shape_zyx
    pieces = needed_slots(volume.layout, cell.part.shifted((-x, -y, -z)))
    strokes = {
        piece.slot: [Stroke.dense(values[piece.where], piece.box, shape_zyx)] for piece in pieces
    }
    return block.painted(strokes, discipline)


def _strokes(
    strokes: Mapping[int, Sequence[Stroke]], discipline: Discipline, block: LabelBlock
) -> Change:
    return block.painted(strokes, discipline)


def _erased(labels: NDArray[np.uint64], block: LabelBlock, box: Box | None) -> Change:
    del box  # labels are erased everywhere
    return block.erased(labels)


def _merged(
    losers: NDArray[np.uint64], survivor: int, block: LabelBlock, box: Box | None
) -> Change:
    return block.relabelled(losers, survivor, box)


def _check_labels(channel: Channel, labels: int | NDArray[Any], points: int) -> None:
    """Refuse labels that cannot be painted at some points."""
    if isinstance(labels, int):
        check_label(channel, labels)
        return
    if labels.shape != (points,):
        raise ShapeMismatchError(f"{points} voxels have labels of shape {labels.shape}.")
    if labels.dtype != channel.dtype:
        raise DataTypeMismatchError(
            f"The labels have type {labels.dtype}, the channel {channel.dtype}."
        )
    for label in {int(labels.min()), int(labels.max())} if points else ():
        check_label(channel, label)


def _by_supercuboid(
    volume: LabelVolume, points_xyz: NDArray[np.integer], labels: NDArray[Any]
) -> Iterator[tuple[int, dict[int, list[Stroke]]]]:
    """Yield the strokes, by slot, of each supercuboid (Morton code) that contains points."""
    points = points_xyz.astype(np.int64, copy=False)
    index, inside = np.divmod(points, np.array(volume.level.cuboid_xyz))
    codes = encode_indices(index)
    order = np.argsort(codes, kind="stable")
    cuboids, starts = np.unique(codes[order], return_index=True)
    strokes = {
        cuboid: Stroke.points(inside[chosen], labels[chosen], volume.layout.cuboid_shape_zyx)
        for cuboid, chosen in zip(cuboids.tolist(), np.split(order, starts[1:]), strict=True)
    }
    for code, slots in volume.by_supercuboid(cuboids).items():
        yield code, {slot: strokes[volume.cuboid(code, slot)] for slot in slots}
