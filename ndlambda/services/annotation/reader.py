"""Reads objects of an annotation channel with their voxels, and finds objects by voxels.

Objects are shown as cutouts show labels: stored or zoomed (``labels.zoom``), with extra labels.
They are read at the channel's first time point, which is ndstore's default.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import InvalidArgumentError, PayloadTooLargeError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.ramon import Annotation, Neuron, ObjectQuery, RamonType
from ndlambda.services.annotation.options import (
    Cuboids,
    NoData,
    RegionCutout,
    TightBox,
    TightCutout,
    Voxels,
    Wanted,
)
from ndlambda.services.labels.bounding_box import cuboids_box, enclosing_box
from ndlambda.services.labels.layer import LabelVolume, check_annotation
from ndlambda.services.labels.reader import LabelledPoints
from ndlambda.services.labels.service import LabelService
from ndlambda.services.labels.shapes import Admit
from ndlambda.services.labels.zoom import LabelView, StoredLayer, zoomed_level
from ndlambda.services.ramon.rows import Tombstone
from ndlambda.services.ramon.service import Ramon, no_object
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.box import XYZ, Box
from ndlambda.space.grid import cell_range
from ndlambda.space.pyramid import Level
from ndlambda.wire.ramon import AnnotationVoxels, BoundingBox, CuboidPart, RamonItem

MAX_POINTS = 1 << 25
"""Maximum number of voxels that one call lists point by point: 400 MB."""

_POINT_BYTES = 24
"""Bytes of a listed voxel: three coordinates, twice while lists are joined."""


class AnnotationReader:
    """Reads objects.

    A result counts against the memory budget while it is being read; the caller that encodes it
    has to count the body.

    Parameters
    ----------
    labels, ramon
        Voxels and objects.
    volume
        Checks limits, and reads plain voxels.
    """

    def __init__(self, labels: LabelService, ramon: Ramon, volume: VolumeService) -> None:
        self._labels = labels
        self._shapes = labels.read.shapes
        self._ramon = ramon
        self._volume = volume

    def read(
        self, dataset: Dataset, channel: Channel, ids: Sequence[int], wanted: Wanted
    ) -> list[RamonItem]:
        """Return objects, each once, in the order of their ids, with their derived lists.

        Coordinates are absolute (the dataset's offset included), except those of cuboids. The
        voxels of a neuron are those of its segments, labelled with its own id. An object without
        voxels has empty data and no box. Blocks have the channel's dtype. Where data is wanted, a
        label without an object is read as a plain annotation; see ``find``.

        Raises
        ------
        NotFoundError
            One of the ids has no object; where data is wanted, nor voxels.
        InvalidArgumentError
            The channel is not an annotation channel; data of a seed is requested; or the region
            is near-isotropic or has several time points.
        ResolutionNotFoundError, OutOfBoundsError
            The dataset has no such resolution or region.
        PayloadTooLargeError
            All objects together have more voxels than one call may read, are in more supercuboids,
            or need too many voxels of another resolution.
        ServerBusyError
            The memory budget is exhausted by other requests.
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        check_annotation(channel)
        distinct = list(dict.fromkeys(ids))
        if isinstance(wanted, NoData):
            found = self._ramon.get_many(channel, distinct)
        else:
            found = self.find(channel, distinct)
            for ramon in found:
                if ramon.ramon_type is RamonType.SEED:
                    raise InvalidArgumentError(f"Seed {ramon.id} has no voxels.", id=ramon.id)
        lists = self._ramon.derived_lists(channel, found)
        items = [
            RamonItem(ramon, derived=derived) for ramon, derived in zip(found, lists, strict=True)
        ]
        match wanted:
            case NoData():
                return items
            case RegionCutout(region):
                return self._with_region(dataset, channel, items, region)
            case Voxels(resolution):
                add = self._with_voxels
            case TightCutout(resolution):
                add = self._with_tight_cutouts
            case TightBox(resolution):
                add = self._with_boxes
            case Cuboids(resolution):
                add = self._with_cuboids
            case _:
                assert_never(wanted)
        level = dataset.pyramid.level(resolution)
        shown = LabelView.of(dataset, channel, level, channel.default_time)
        return add(replace(shown, admit_reads=_summed(self._volume.check_read)), items)

    def find(self, channel: Channel, ids: Sequence[int]) -> list[Annotation]:
        """Return the objects of labels, in the order of the ids.

        Of a label that the index has and that has no object, such as those of an ingested
        segmentation, it is an annotation without fields. (ndstore knows such labels in cutouts
        only.)

        Raises
        ------
        NotFoundError
            An id has neither an object nor voxels, or its object is deleted and its voxels are
            being erased, or was merged, or is being uploaded.
        """
        states = self._ramon.states(channel, ids)
        found: list[Annotation] = []
        for number in ids:
            state = states.get(number)
            if isinstance(state, Annotation):
                found.append(state)
            elif state in (None, Tombstone()) and self._labels.read.has_label(channel, number):
                found.append(Annotation(number))
            else:
                raise no_object(number)
        return found

    def label_at(
        self,
        dataset: Dataset,
        channel: Channel,
        resolution: int,
        point_xyz: XYZ,
        time_point: int | None = None,
    ) -> int:
        """Return a voxel's own label, 0 if it has none.

        Parameters
        ----------
        dataset, channel, resolution
            The level.
        point_xyz
            Absolute: the dataset's offset included.
        time_point
            None: the channel's first one.

        Raises
        ------
        InvalidArgumentError
            The channel is not an annotation channel.
        ResolutionNotFoundError, OutOfBoundsError
            The dataset has no such resolution or voxel.
        CuboidDecodeError
            The stored supercuboid is damaged.
        """
        check_annotation(channel)
        level = dataset.pyramid.level(resolution)
        x, y, z = _added(point_xyz, level.offset_xyz, -1)
        at = channel.default_time if time_point is None else time_point
        region = Region(level, Box.at((x, y, z), (1, 1, 1)), (at, at + 1))
        return int(self._volume.read(dataset, channel, region)[0, 0, 0, 0])

    def labels_in(self, dataset: Dataset, channel: Channel, region: Region) -> list[int]:
        """Return the labels, own and extra, of voxels in a region, ascending, without 0.

        Raises
        ------
        InvalidArgumentError
            The channel is not an annotation channel, or the region is near-isotropic.
        OutOfBoundsError
            The region exceeds the volume.
        PayloadTooLargeError
            It has too many voxels, or needs too many of another resolution.
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        volumes = LabelVolume.of_region(channel, region)
        self._check_region(dataset, channel, region)
        found = set[int]()
        for volume in volumes:
            shown = LabelView.of(dataset, channel, region.level, volume.time_point)
            found |= self._shapes.labels_in(shown, region.box)
        return sorted(found)

    def query(
        self, dataset: Dataset, channel: Channel, query: ObjectQuery, region: Region | None = None
    ) -> list[int]:
        """Return the ids of objects for which all predicates hold, ascending.

        With a region, only objects with voxels there; see ``labels_in``, also for the errors.
        """
        within = None if region is None else set(self.labels_in(dataset, channel, region))
        return self._ramon.query(channel, query, within)

    def exceptions(self, channel: Channel, region: Region) -> LabelledPoints:
        """Return the voxels of a region that have several labels, as stored; points are zero-based.

        Raises
        ------
        InvalidArgumentError
            The channel is not an annotation channel, or the region is near-isotropic or has
            several time points.
        OutOfBoundsError, PayloadTooLargeError
            See ``VolumeService.check_size``.
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        self._volume.check_size(region, channel)
        with self._volume.budget.hold(region.voxels * channel.dtype.itemsize):
            return self._labels.read.exceptions_in(channel, region)

    def cuboids_of(self, channel: Channel, ramon: Annotation, level: Level) -> NDArray[np.uint64]:
        """Return the Morton codes of cuboids of a level that may hold an object, ascending.

        The result is from the index alone and includes all stored cuboids that do. The cuboids of
        a neuron are those of its segments.
        """
        return self._cuboids(LabelVolume(channel, level, channel.default_time), ramon)

    def loose_box(
        self, dataset: Dataset, channel: Channel, ramon: Annotation, level: Level
    ) -> Box | None:
        """Return a box, in dataset coordinates, around all voxels of an object at a level.

        It is from the index alone, so it may be too large, or exist for an object without voxels.
        None: the object has no voxels.
        """
        shown = LabelView.of(dataset, channel, level, channel.default_time)
        found: list[Box | None] = []
        for volume in (shown.volume, shown.base):
            codes = None if volume is None else self._cuboids(volume, ramon)
            if volume is not None and codes is not None and codes.size:
                around = cuboids_box(codes, volume.level.cuboid_xyz)
                found.append(StoredLayer(volume, shown.volume).shown_box(around, None))
        box = enclosing_box(found)
        return None if box is None else box.shifted(level.offset_xyz)

    def _cuboids(self, volume: LabelVolume, ramon: Annotation) -> NDArray[np.uint64]:
        ids = [ramon.id]
        if isinstance(ramon, Neuron):
            ids = self._ramon.derived(volume.channel, ramon, "segments")
        found = (self._labels.read.cuboids_of(volume, number) for number in ids)
        return np.unique(np.concatenate([np.empty(0, np.uint64), *found]))

    def _with_voxels(self, shown: LabelView, items: Sequence[RamonItem]) -> list[RamonItem]:
        level = shown.volume.level
        offset = np.array(level.offset_xyz, np.uint32)
        with self._volume.budget.hold_growing() as take:
            admit = _admit(take, _POINT_BYTES, _check_points)
            found: list[RamonItem] = []
            for item in items:
                points = self._shapes.voxels(shown, _labels_of(item), admit)
                points += offset
                data = AnnotationVoxels(level.resolution, points if len(points) else None)
                found.append(replace(item, data=data))
            return found

    def _with_boxes(self, shown: LabelView, items: Sequence[RamonItem]) -> list[RamonItem]:
        level = shown.volume.level
        found: list[RamonItem] = []
        for item in items:
            box = self._shapes.bounding_box(shown, _labels_of(item))
            bounds = None
            if box is not None:
                corner = _added(box.start_xyz, level.offset_xyz)
                bounds = BoundingBox(level.resolution, corner, box.shape_xyz)
            found.append(replace(item, box=bounds))
        return found

    def _with_tight_cutouts(self, shown: LabelView, items: Sequence[RamonItem]) -> list[RamonItem]:
        edges = shown.volume.level.cuboid_xyz
        tight = (self._shapes.bounding_box(shown, _labels_of(item)) for item in items)
        boxes = [None if box is None else _outward(box, edges) for box in tight]
        voxels = sum(box.voxels for box in boxes if box is not None)
        self._volume.check_voxels(voxels)
        return self._drawn(shown, items, boxes)

    def _with_region(
        self, dataset: Dataset, channel: Channel, items: Sequence[RamonItem], region: Region
    ) -> list[RamonItem]:
        if region.neariso or region.times[1] - region.times[0] > 1:
            raise InvalidArgumentError(
                "Objects can be cut out of a plain level at one time point only."
            )
        self._check_region(dataset, channel, region, len(items))
        shown = LabelView.of(dataset, channel, region.level, region.times[0])
        return self._drawn(shown, items, [region.box] * len(items))

    def _with_cuboids(self, shown: LabelView, items: Sequence[RamonItem]) -> list[RamonItem]:
        volume = shown.volume
        itemsize = volume.channel.dtype.itemsize
        with self._volume.budget.hold_growing() as take:
            admit = _admit(take, itemsize, self._volume.check_voxels)
            found: list[RamonItem] = []
            for item in items:
                cuboids = self._shapes.cuboids(shown, _labels_of(item), item.ramon.id, admit)
                parts = tuple(CuboidPart(box.start_xyz, array[None]) for box, array in cuboids)
                data = AnnotationVoxels(volume.level.resolution, cuboids=parts)
                found.append(replace(item, data=data))
            return found

    def _drawn(
        self, shown: LabelView, items: Sequence[RamonItem], boxes: Sequence[Box | None]
    ) -> list[RamonItem]:
        """Return objects with the blocks of checked boxes; without a block if there is no box."""
        level, dtype = shown.volume.level, shown.volume.channel.dtype
        voxels = sum(box.voxels for box in boxes if box is not None)
        with self._volume.budget.hold(voxels * dtype.itemsize):
            found: list[RamonItem] = []
            for item, box in zip(items, boxes, strict=True):
                data = AnnotationVoxels(level.resolution)
                if box is not None:
                    block = np.zeros(box.shape_zyx, dtype)
                    self._shapes.draw(shown, _labels_of(item), box, item.ramon.id, block)
                    corner = _added(box.start_xyz, level.offset_xyz)
                    data = replace(data, corner_xyz=corner, cutout_zyx=block)
                found.append(replace(item, data=data))
            return found

    def _check_region(
        self, dataset: Dataset, channel: Channel, region: Region, times: int = 1
    ) -> None:
        read = [channel] * times
        self._volume.check_size(region, *read)
        base = zoomed_level(dataset, channel, region.level)
        if base is not None:
            self._volume.check_zoom(region, base, *read)


def _summed(check: Callable[[int], None]) -> Callable[[int], None]:
    """Return a function that checks the sum of all numbers it was called with."""
    total = 0

    def add(number: int) -> None:
        nonlocal total
        total += number
        check(total)

    return add


def _admit(take: Callable[[int], None], size_bytes: int, check: Callable[[int], None]) -> Admit:
    """Return a function that counts the voxels of a call, checks them, and takes memory."""
    count = _summed(check)

    def admit(voxels: int) -> None:
        count(voxels)
        take(voxels * size_bytes)

    return admit


def _labels_of(item: RamonItem) -> Collection[int]:
    """Return the labels of an object's voxels: its own, or those of a neuron's segments."""
    if item.ramon.ramon_type is RamonType.NEURON:
        return item.derived["segments"]
    return (item.ramon.id,)


def _check_points(points: int) -> None:
    if points > MAX_POINTS:
        raise PayloadTooLargeError(
            f"The objects have more than {MAX_POINTS} voxels; read them as cutouts.",
            limit=MAX_POINTS,
        )


def _outward(box: Box, cuboid_xyz: XYZ) -> Box:
    """Return the box of whole cuboids around a box."""
    cells = cell_range(box, cuboid_xyz)
    start, stop = (
        (x * cuboid_xyz[0], y * cuboid_xyz[1], z * cuboid_xyz[2])
        for x, y, z in (cells.start_xyz, cells.stop_xyz)
    )
    return Box(start, stop)


def _added(first: XYZ, second: XYZ, sign: int = 1) -> XYZ:
    (ax, ay, az), (bx, by, bz) = first, second
    return ax + sign * bx, ay + sign * by, az + sign * bz
