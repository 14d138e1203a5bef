"""Reads shapes of objects: the voxels with one of some labels, as one resolution shows them.

The index names candidate cuboids, possibly too many; the voxels decide. Boxes and points are
zero-based voxels of the shown resolution.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.label_block import LabelBlock
from ndlambda.cuboids.layout import needed_slots
from ndlambda.errors import PayloadTooLargeError
from ndlambda.services.labels.bounding_box import (
    cuboids_box,
    enclosing_box,
    mask_box,
    tight_box,
)
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.zoom import LabelView, ObjectPart, StoredLayer
from ndlambda.services.support.pool import run_all
from ndlambda.services.volume.place import read_stored
from ndlambda.services.volume.shown import shown_labels
from ndlambda.space import morton
from ndlambda.space.box import Box
from ndlambda.space.grid import Cell, cell_count, cover
from ndlambda.stores.ports import ObjectStore, Range
from ndlambda.voxels.paint import distinct

_CUBOIDS_A_BATCH = 256
"""Masks that are in memory at once: up to 64 MiB."""

_MAX_SHOWN = 1 << 28
"""Maximum number of voxels that show one stored cuboid."""

Admit = Callable[[int], None]
"""Called with a number of voxels before memory is allocated for them; may refuse."""


@dataclass(frozen=True, slots=True)
class _Search:
    """The labels to find, and where to show them; ``whole``: not cut by supercuboids."""

    source: StoredLayer
    wanted: NDArray[np.uint64]
    admit_reads: Callable[[int], None]
    within: Box | None = None
    whole: bool = False

    def parts(self, box: Box) -> Iterable[Box]:
        if self.whole and self.source.hidden is None:
            return (box,)
        return self.source.parts(box)


class LabelShapes:
    """Reads the shapes of objects.

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

    def voxels(self, shown: LabelView, labels: Collection[int], admit: Admit) -> NDArray[np.uint32]:
        """Return the voxels with one of some labels: shape (n, 3), columns x, y, z.

        Each voxel occurs once; stored cuboids follow in Morton order, voxels inside in C order.

        Raises
        ------
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        found: list[NDArray[np.uint32]] = [np.empty((0, 3), np.uint32)]
        for pieces in self._pieces(shown, labels):
            admit(sum(piece.count for piece in pieces))
            found += [piece.points() for piece in pieces]
        return np.concatenate(found)

    def draw(
        self, shown: LabelView, labels: Collection[int], box: Box, value: int, out: NDArray[Any]
    ) -> None:
        """Set the voxels with one of some labels in ``out``, the array (z, y, x) of a box.

        Raises
        ------
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        for pieces in self._pieces(shown, labels, box):
            for piece in pieces:
                out[piece.box.slices_zyx(box.start_xyz)][piece.mask()] = value

    def cuboids(
        self, shown: LabelView, labels: Collection[int], value: int, admit: Admit
    ) -> list[tuple[Box, NDArray[Any]]]:
        """Return the cuboids with one of some labels, in Morton order, with their boxes.

        An array (z, y, x) has the channel's dtype: ``value`` where the object is, else 0.

        Raises
        ------
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        layout = shown.volume.layout
        found: dict[int, tuple[Box, NDArray[Any]]] = {}
        for piece in chain.from_iterable(self._pieces(shown, labels)):
            mask = piece.mask()
            for cell in cover(piece.box, layout.cuboid_xyz):
                part = mask[cell.part.slices_zyx(piece.box.start_xyz)]
                if not part.any():
                    continue
                if cell.code not in found:
                    admit(cell.box.voxels)
                    array: NDArray[Any] = np.zeros(layout.cuboid_shape_zyx, layout.dtype)
                    found[cell.code] = cell.box, array
                target = found[cell.code][1]
                target[cell.part.slices_zyx(cell.box.start_xyz)][part] = value
        return [found[code] for code in sorted(found)]

    def bounding_box(self, shown: LabelView, labels: Collection[int]) -> Box | None:
        """Return the exact box of the voxels with one of some labels, None if there are none.

        Raises
        ------
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        found: list[Box | None] = []
        for source in self._sources(shown):
            codes = self._codes(source, labels)
            look_at = partial(
                self._boxes, _Search(source, _array(labels), shown.admit_reads, whole=True)
            )
            found.append(tight_box(codes, look_at, partial(_span, source)) if codes.size else None)
        return enclosing_box(found)

    def labels_in(self, shown: LabelView, box: Box) -> frozenset[int]:
        """Return the labels, own and extra, shown in a box of the image, without 0.

        Raises
        ------
        CuboidDecodeError
            A stored supercuboid is damaged.
        """

        def look(source: StoredLayer, cell: Cell) -> frozenset[int]:
            with source.volume.place(cell.code).named_in_errors():
                return look_into(source, cell)

        def look_into(source: StoredLayer, cell: Cell) -> frozenset[int]:
            volume, found = source.volume, frozenset[int]()
            block = self._block(volume, cell.code)
            x, y, z = cell.box.start_xyz
            for piece in needed_slots(volume.layout, cell.part.shifted((-x, -y, -z))):
                corner = volume.corner(cell.code, piece.slot)
                cuboid, extra = block.cuboid(piece.slot), block.extra_of(piece.slot)
                shown_box = source.shown_box(piece.box.shifted(corner), box)
                for part in () if shown_box is None else source.parts(shown_box):
                    where = np.ix_(*source.axes(part, corner))
                    found |= distinct(shown_labels(volume.channel, cuboid[where]))
                    if len(extra):
                        seen = np.zeros(cuboid.shape, np.bool_)
                        seen[where] = True
                        more = extra.where(seen.reshape(-1)[extra.at]).labels
                        found |= distinct(shown_labels(volume.channel, more))
            return found

        tasks = (
            partial(look, source, cell)
            for source in self._sources(shown)
            for cell in cover(source.source_box(box), source.volume.layout.supercuboid_xyz)
        )
        return frozenset[int]().union(*run_all(self._executor, tasks))

    def _pieces(
        self, shown: LabelView, labels: Collection[int], within: Box | None = None
    ) -> Iterator[list[ObjectPart]]:
        """Yield the parts of an object (in a box) that have voxels, in batches."""
        for source in self._sources(shown):
            search = _Search(source, _array(labels), shown.admit_reads, within)
            codes = self._codes(source, labels, within)
            for found in self._look_at(search, codes):
                yield [piece for _, piece in found]

    def _boxes(self, search: _Search, codes: NDArray[np.uint64]) -> dict[int, Box | None]:
        """Return the exact box of an object in each of some stored cuboids."""
        boxes: dict[int, Box | None] = dict.fromkeys(codes.tolist())
        for code, piece in chain.from_iterable(self._look_at(search, codes)):
            boxes[code] = enclosing_box([boxes[code], piece.tight_box])
        return boxes

    def _look_at(
        self, search: _Search, codes: NDArray[np.uint64]
    ) -> Iterator[list[tuple[int, ObjectPart]]]:
        """Yield the parts of an object in stored cuboids, in batches."""
        size = _CUBOIDS_A_BATCH // (1 if search.whole else search.source.magnification)
        for batch in _batches(search.source.volume.by_supercuboid(codes), size):
            search.admit_reads(len(batch))
            tasks = (
                partial(
                    search.source.volume.place(code).named_in_errors()(self._look),
                    search,
                    code,
                    slots,
                )
                for code, slots in batch
            )
            yield list(chain.from_iterable(run_all(self._executor, tasks)))

    def _look(self, search: _Search, code: int, slots: list[int]) -> list[tuple[int, ObjectPart]]:
        """Return the parts of an object in cuboids of a supercuboid, with their Morton codes."""
        source, found = search.source, list[tuple[int, ObjectPart]]()
        block = self._block(source.volume, code)
        for slot in slots:
            mask = block.has_any(slot, search.wanted)
            corner = source.volume.corner(code, slot)
            held = mask_box(mask, corner)
            box = None if held is None else source.shown_box(held, search.within)
            if box is None:
                continue
            if not search.whole and box.voxels > _MAX_SHOWN:
                _check_shown(ObjectPart.of(mask, source.axes(box, corner), box))
            for part in search.parts(box):
                piece = ObjectPart.of(mask, source.axes(part, corner), part)
                if piece.grain.any():
                    found.append((source.volume.cuboid(code, slot), piece))
        return found

    def _sources(self, shown: LabelView) -> Iterator[StoredLayer]:
        yield StoredLayer(shown.volume, shown.volume)
        if shown.base is not None:
            yield StoredLayer(shown.base, shown.volume, self._stored(shown.volume))

    def _stored(self, volume: LabelVolume) -> Callable[[int], bool] | None:
        """Return a predicate: whether a supercuboid (Morton code) is stored; None: none is."""
        prefix = volume.key(0).rpartition("/")[0]
        if next(iter(self._objects.list(f"{prefix}/")), None) is None:
            return None  # the usual case: zoomed resolutions are rarely painted
        known: dict[int, bool] = {}

        def is_stored(code: int) -> bool:
            if code not in known:
                stored = read_stored(self._objects, volume.place(code), Range(0, 1))
                known[code] = stored is not None
            return known[code]

        return is_stored

    def _codes(
        self, source: StoredLayer, labels: Collection[int], within: Box | None = None
    ) -> NDArray[np.uint64]:
        """Return the Morton codes of cuboids that may hold labels (shown in a box)."""
        volume, cells = source.volume, None
        if within is not None:
            box = source.source_box(within)
            cells = volume.cells(box)
            if cell_count(box, volume.layout.supercuboid_xyz) <= len(labels):
                # A query costs about as much as a GET: reading every supercuboid is cheaper.
                return np.sort(morton.plan(cells.start_xyz, cells.stop_xyz), axis=None)
        query = partial(self._index.cuboids, volume.scope, cells=cells)
        found = run_all(self._executor, (partial(query, label) for label in labels))
        return np.unique(np.concatenate([np.empty(0, np.uint64), *found]))

    def _block(self, volume: LabelVolume, code: int) -> LabelBlock:
        stored = read_stored(self._objects, volume.place(code))
        return LabelBlock(None if stored is None else stored.data, volume.layout)


def _array(labels: Collection[int]) -> NDArray[np.uint64]:
    return np.array(sorted(labels), np.uint64)


def _span(source: StoredLayer, codes: NDArray[np.uint64]) -> Box | None:
    """Return the box of the shown voxels that may show some stored cuboids."""
    return source.shown_box(cuboids_box(codes, source.volume.level.cuboid_xyz), None)


def _check_shown(piece: ObjectPart) -> None:
    """Refuse a part with too many voxels before it is cut into pieces."""
    if piece.count > _MAX_SHOWN:
        raise PayloadTooLargeError(
            f"The object has more than {_MAX_SHOWN} voxels at this resolution; ask for a "
            "coarser one, or for its bounding box.",
            limit=_MAX_SHOWN,
        )


def _batches(found: Mapping[int, list[int]], size: int) -> Iterator[list[tuple[int, list[int]]]]:
    """Group supercuboids (Morton code to slots) into batches of at most ``size`` cuboids."""
    batch, taken = list[tuple[int, list[int]]](), 0
    for code, slots in found.items():
        if batch and taken + len(slots) > size:
            yield batch
            batch, taken = [], 0
        batch.append((code, slots))
        taken += len(slots)
    if batch:
        yield batch
