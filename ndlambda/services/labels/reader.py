"""Reads labels as they are stored: the cuboids of a label, and voxels with several labels.

Boxes and points are zero-based voxels of one resolution.
"""

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.label_block import LabelBlock
from ndlambda.cuboids.layout import SlotPart, needed_slots
from ndlambda.errors import InvalidArgumentError
from ndlambda.model.catalog import Channel
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.shapes import LabelShapes
from ndlambda.services.support.pool import run_all
from ndlambda.services.volume.place import read_stored
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.shown import shown_labels
from ndlambda.space.grid import Cell, cover
from ndlambda.stores.ports import ObjectStore
from ndlambda.voxels.extra_labels import ExtraLabels

_Rows: TypeAlias = tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint64]]
"""Points (n, 3), their own labels (n,), and one extra label of each (n,)."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPoints:
    """Voxels with several labels.

    Attributes
    ----------
    points_xyz
        uint32, shape (n, 3), columns x, y, z; each voxel once, ordered by z, y, x.
    labels
        uint64, shape (n, k): the voxel's own label (0: none left), then its extra ones in
        ascending order, padded with zeros.
    """

    points_xyz: NDArray[np.uint32]
    labels: NDArray[np.uint64]


class LabelReader:
    """Reads labels as they are stored, and in ``shapes`` as resolutions show them.

    Parameters
    ----------
    objects, index
        Supercuboids, and the cuboids of each label.
    executor
        Threads, one for each supercuboid that is being read.
    """

    def __init__(self, objects: ObjectStore, index: LabelIndex, executor: Executor) -> None:
        self._objects = objects
        self._index = index
        self._executor = executor
        self.shapes = LabelShapes(objects, index, executor)

    def cuboids_of(self, volume: LabelVolume, label: int) -> NDArray[np.uint64]:
        """Return the Morton codes of cuboids that may hold a label, ascending.

        The result includes all that do.
        """
        return self._index.cuboids(volume.scope, label)

    def has_label(self, channel: Channel, label: int) -> bool:
        """Return whether any voxel of a channel may have a label."""
        return self._index.has(channel.uid, label)

    def exceptions_in(self, channel: Channel, region: Region) -> LabelledPoints:
        """Return the voxels of a region, at its one time point, that have extra labels.

        Raises
        ------
        InvalidArgumentError
            The region has several time points or is near-isotropic, or the channel is not an
            annotation channel.
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        if region.times[1] - region.times[0] != 1:
            raise InvalidArgumentError("Exceptions are listed for one time point at a time.")
        (volume,) = LabelVolume.of_region(channel, region)
        cells = cover(region.box, volume.layout.supercuboid_xyz)
        tasks = (
            partial(volume.place(cell.code).named_in_errors()(self._extras), volume, cell)
            for cell in cells
        )
        return _tabulate([row for rows in run_all(self._executor, tasks) for row in rows])

    def _extras(self, volume: LabelVolume, cell: Cell) -> list[_Rows]:
        """Return the extra labels in a cell's part, for each cuboid that has any there."""
        stored = read_stored(self._objects, volume.place(cell.code))
        block = LabelBlock(None if stored is None else stored.data, volume.layout)
        x, y, z = cell.box.start_xyz
        found: list[_Rows] = []
        for piece in needed_slots(volume.layout, cell.part.shifted((-x, -y, -z))):
            extra = _inside(block.extra_of(piece.slot), volume, piece)
            if len(extra):
                own = block.cuboid(piece.slot).reshape(-1)[extra.at].astype(np.uint64)
                own = shown_labels(volume.channel, own)
                zyx = np.unravel_index(extra.at, volume.layout.cuboid_shape_zyx)
                points = np.stack(zyx[::-1], axis=1) + volume.corner(cell.code, piece.slot)
                found.append((points, own, shown_labels(volume.channel, extra.labels)))
        return found


def _inside(extra: ExtraLabels, volume: LabelVolume, piece: SlotPart) -> ExtraLabels:
    """Return the extra labels in a part of a cuboid."""
    if not len(extra):
        return extra
    index_zyx = np.stack(np.unravel_index(extra.at, volume.layout.cuboid_shape_zyx), axis=1)
    start, stop = piece.box.start_xyz[::-1], piece.box.stop_xyz[::-1]
    inside = (index_zyx >= start) & (index_zyx < stop)
    return extra.where(np.logical_and.reduce(inside, axis=1))


def _tabulate(rows: list[_Rows]) -> LabelledPoints:
    """Group rows, one for each extra label, into one line for each voxel."""
    if not rows:
        return LabelledPoints(np.empty((0, 3), np.uint32), np.empty((0, 2), np.uint64))
    points, own, extra = (np.concatenate(column) for column in zip(*rows, strict=True))
    order = np.lexsort((extra, points[:, 0], points[:, 1], points[:, 2]))
    points, own, extra = points[order], own[order], extra[order]
    fresh = np.ones(len(points), np.bool_)
    fresh[1:] = (points[1:] != points[:-1]).any(axis=1)
    starts = np.flatnonzero(fresh)
    line = np.cumsum(fresh) - 1
    column = np.arange(len(points)) - starts[line] + 1
    labels = np.zeros((starts.size, int(column.max()) + 1), np.uint64)
    labels[:, 0] = own[starts]
    labels[line, column] = extra
    return LabelledPoints(points[starts].astype(np.uint32), labels)
