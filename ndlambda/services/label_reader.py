"""Finding labels: what is in a box, and where a label is.

The index says where to look and may say too much; the voxels decide. Boxes and points are
zero-based voxels of one resolution.
"""

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.label_block import LabelBlock
from ndlambda.cuboids.layout import SlotPart, needed_slots
from ndlambda.errors import InvalidArgumentError, PayloadTooLargeError
from ndlambda.model.catalog import Channel
from ndlambda.services.label_box import cuboids_box
from ndlambda.services.label_index import LabelIndex
from ndlambda.services.label_shapes import LabelShapes
from ndlambda.services.label_volume import LabelVolume
from ndlambda.services.label_zoom import Shown
from ndlambda.services.pool import run_all
from ndlambda.services.region import Region
from ndlambda.space.box import Box
from ndlambda.space.grid import Cell, cover
from ndlambda.stores.ports import ObjectStore
from ndlambda.voxels.extra_labels import ExtraLabels
from ndlambda.voxels.paint import distinct

MAX_POINTS = 1 << 25
"""Most voxels that are listed point by point: 400 MB."""

_Result = TypeVar("_Result")
_Rows: TypeAlias = tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint64]]
"""Points (n, 3), their own labels (n,), one extra label of each (n,)."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPoints:
    """Voxels with several labels.

    Attributes
    ----------
    points_xyz
        uint32, shape (n, 3), columns x, y, z; each voxel once, ordered by z, y, x.
    labels
        uint64, shape (n, k): the voxel's own label (0: it has none left), then its extra ones
        ascending, filled up with zeros.
    """

    points_xyz: NDArray[np.uint32]
    labels: NDArray[np.uint64]


class LabelReader:
    """Reads labels with the extra ones, as they are stored; in ``shapes`` also zoomed.

    Parameters
    ----------
    objects, index
        Supercuboids and the rows that tell where labels are.
    executor
        Threads, one for each supercuboid that is being read.
    """

    def __init__(self, objects: ObjectStore, index: LabelIndex, executor: Executor) -> None:
        self._objects = objects
        self._index = index
        self._executor = executor
        self.shapes = LabelShapes(objects, index, executor)

    def ids_in(
        self, channel: Channel, region: Region, *, extras: bool = False
    ) -> NDArray[np.uint64]:
        """Give the labels in a region (with ``extras`` also the extra ones), ascending, without 0.

        Raises
        ------
        CuboidDecodeError
            A stored supercuboid is damaged.
        """

        def look(volume: LabelVolume, cell: Cell) -> frozenset[int]:
            block, found = self._block(volume, cell.code), frozenset[int]()
            for piece in _pieces(volume, cell):
                found |= distinct(block.cuboid(piece.slot)[piece.box.slices_zyx()])
                if extras:
                    found |= _inside(block.extra_of(piece.slot), volume, piece).distinct()
            return found

        found = frozenset[int]().union(*self._over(channel, region, look))
        return np.array(sorted(found), np.uint64)

    def cutout_of(self, channel: Channel, region: Region, labels: Collection[int]) -> NDArray[Any]:
        """Give a region (t, z, y, x) with some labels only, extra ones laid over, 0 elsewhere.

        A voxel that has several of the labels shows its own one, else the smallest extra one. The
        array is new and has the channel's dtype; the size of the region is the caller's to check.

        Raises
        ------
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        out = np.zeros(region.shape_tzyx, channel.dtype)
        limit = np.iinfo(channel.dtype).max
        wanted = np.array(sorted(label for label in labels if 0 < label <= limit), np.uint64)

        def copy(volume: LabelVolume, cell: Cell) -> None:
            target = out[volume.time_point - region.times[0]]
            target = target[cell.part.slices_zyx(region.box.start_xyz)]
            block = self._block(volume, cell.code)
            for piece in _pieces(volume, cell):
                target[piece.where] = _only(block, piece, wanted)

        self._over(channel, region, copy, wanted.tolist())
        return out

    def voxels_of(self, volume: LabelVolume, label: int) -> NDArray[np.uint32]:
        """Give the voxels that have a label, own or extra: shape (n, 3), columns x, y, z.

        Each voxel comes once, cuboid by cuboid in Morton order, in C order inside.

        Raises
        ------
        PayloadTooLargeError
            There are more than ``MAX_POINTS``.
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        total = 0

        def admit(voxels: int) -> None:
            nonlocal total
            total += voxels
            if total > MAX_POINTS:
                raise PayloadTooLargeError(
                    f"Label {label} has more than {MAX_POINTS} voxels; read it as a cutout.",
                    limit=MAX_POINTS,
                )

        return self.shapes.voxels(Shown(volume), [label], admit)

    def cuboids_of(
        self, volume: LabelVolume, label: int, box: Box | None = None
    ) -> NDArray[np.uint64]:
        """Give the Morton codes of cuboids that may hold a label (in a box of voxels), ascending.

        Those that do are among them.
        """
        cells = None if box is None else volume.cells(box)
        return self._index.cuboids(volume.scope, label, cells)

    def bounding_box(self, volume: LabelVolume, label: int, *, tight: bool = True) -> Box | None:
        """Give the box of a label, None where it has no voxel.

        The tight box is exact. The other one is made of whole cuboids and comes from the index
        alone: it may be too large, and it may be there for a label that has no voxel any more.

        Raises
        ------
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        if tight:
            return self.shapes.bounding_box(Shown(volume), [label])
        codes = self._index.cuboids(volume.scope, label)
        return cuboids_box(codes, volume.level.cuboid_xyz) if codes.size else None

    def exceptions_in(self, channel: Channel, region: Region) -> LabelledPoints:
        """Give the voxels of a region, at its one time point, that have extra labels.

        Raises
        ------
        InvalidArgumentError
            The region has several time points.
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        if region.times[1] - region.times[0] > 1:
            raise InvalidArgumentError("Exceptions are listed at one time point.")

        def look(volume: LabelVolume, cell: Cell) -> list[_Rows]:
            block = self._block(volume, cell.code)
            found: list[_Rows] = []
            for piece in _pieces(volume, cell):
                extra = _inside(block.extra_of(piece.slot), volume, piece)
                if len(extra):
                    own = block.cuboid(piece.slot).reshape(-1)[extra.at].astype(np.uint64)
                    z, y, x = np.unravel_index(extra.at, volume.layout.cuboid_shape_zyx)
                    corner = volume.corner(cell.code, piece.slot)
                    points = np.stack([x, y, z], axis=1) + np.array(corner)
                    found.append((points, own, extra.labels))
            return found

        rows = [row for rows in self._over(channel, region, look) for row in rows]
        return _tabulate(rows)

    def _block(self, volume: LabelVolume, code: int) -> LabelBlock:
        stored = self._objects.get(volume.key(code))
        return LabelBlock(None if stored is None else stored.data, volume.layout)

    def _over(
        self,
        channel: Channel,
        region: Region,
        task: Callable[[LabelVolume, Cell], _Result],
        labels: Collection[int] | None = None,
    ) -> list[_Result]:
        """Do a task for the supercuboids of a region, or those that may hold some labels."""

        def cells() -> Iterable[tuple[LabelVolume, Cell]]:
            for volume in LabelVolume.of_region(channel, region):
                found = list(cover(region.box, volume.layout.supercuboid_xyz))
                codes: set[int] = {cell.code for cell in found}
                if labels is not None and len(labels) < len(found):  # a query is about a GET
                    codes = {
                        volume.supercuboid(cuboid)[0]
                        for label in labels
                        for cuboid in self.cuboids_of(volume, label, region.box).tolist()
                    }
                yield from ((volume, cell) for cell in found if cell.code in codes)

        return run_all(self._executor, (partial(task, *each) for each in cells()))


def _pieces(volume: LabelVolume, cell: Cell) -> tuple[SlotPart, ...]:
    """Give the cuboids that a cell's part touches."""
    x, y, z = cell.box.start_xyz
    return needed_slots(volume.layout, cell.part.shifted((-x, -y, -z)))


def _inside(extra: ExtraLabels, volume: LabelVolume, piece: SlotPart) -> ExtraLabels:
    """Give those extra labels of a cuboid that lie in a part of it."""
    if not len(extra):
        return extra
    index_zyx = np.stack(np.unravel_index(extra.at, volume.layout.cuboid_shape_zyx), axis=1)
    start, stop = piece.box.start_xyz[::-1], piece.box.stop_xyz[::-1]
    inside = (index_zyx >= start) & (index_zyx < stop)
    return extra.where(np.logical_and.reduce(inside, axis=1))


def _only(block: LabelBlock, piece: SlotPart, wanted: NDArray[np.uint64]) -> NDArray[Any]:
    """Give a part of a cuboid with some labels only, extra ones where the voxel shows none."""
    cuboid = block.cuboid(piece.slot)
    cuboid[~np.isin(cuboid, wanted)] = 0
    extra = block.extra_of(piece.slot)
    extra = extra.among(wanted)
    at, smallest = np.unique(extra.at, return_index=True)
    flat = cuboid.reshape(-1)
    bare = flat[at] == 0
    flat[at[bare]] = extra.labels[smallest[bare]]
    part: NDArray[Any] = cuboid[piece.box.slices_zyx()]
    return part


def _tabulate(rows: list[_Rows]) -> LabelledPoints:
    """Give one line a voxel from one row an extra label."""
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
