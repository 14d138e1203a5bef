"""Objects as shapes: the voxels that have one of some labels, as one resolution shows them.

The index says which cuboids to look at and may say too many; the voxels decide. Boxes and points
are zero-based voxels of the resolution shown.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial, reduce
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.label_block import LabelBlock
from ndlambda.cuboids.layout import needed_slots
from ndlambda.errors import PayloadTooLargeError
from ndlambda.services.labels.bounding_box import mask_box, tight_box
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

_CUBOIDS_AT_ONCE = 256
"""Masks that are in memory at once: up to 64 MiB."""

_MOST_SHOWN = 1 << 28
"""Voxels that show one stored cuboid; no call gives more."""

Admit = Callable[[int], None]
"""Is told of each number of voxels before memory is taken for them, and may refuse."""


@dataclass(frozen=True, slots=True)
class _Search:
    """What is looked for, and where it is to be shown; ``whole``: not cut by supercuboids."""

    source: StoredLayer
    wanted: NDArray[np.uint64]
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
        Supercuboids and the rows that tell where labels are.
    executor
        Threads, one for each supercuboid that is being read.
    """

    def __init__(self, objects: ObjectStore, index: LabelIndex, executor: Executor) -> None:
        self._objects = objects
        self._index = index
        self._executor = executor

    def voxels(self, shown: LabelView, labels: Collection[int], admit: Admit) -> NDArray[np.uint32]:
        """Return the voxels that have one of some labels: shape (n, 3), columns x, y, z.

        Each voxel comes once; cuboid by cuboid as stored, in Morton order, in C order inside.

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
        """Set the voxels of a box (its array z, y, x is ``out``) that have one of some labels.

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
        """Return the cuboids that have one of some labels, in Morton order, with their boxes.

        An array (z, y, x) has the channel's dtype: ``value`` where the object is, and 0.

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
        """Return the exact box of the voxels that have one of some labels; None: there is none.

        Raises
        ------
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        found: list[Box | None] = []
        for source in self._sources(shown):
            codes = self._codes(source, labels)
            look_at = partial(self._boxes, _Search(source, _array(labels), whole=True))
            found.append(tight_box(codes, look_at) if codes.size else None)
        return _around(found)

    def labels_in(self, shown: LabelView, box: Box) -> frozenset[int]:
        """Return the labels, own and extra, that are shown in a box of the image; without 0.

        Raises
        ------
        CuboidDecodeError
            A stored supercuboid is damaged.
        """

        def look(source: StoredLayer, cell: Cell) -> frozenset[int]:
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
        """Yield the parts of an object (in a box) that have voxels of it, some at once."""
        for source in self._sources(shown):
            search = _Search(source, _array(labels), within)
            codes = self._codes(source, labels, within)
            for looked in self._look_at(search, codes):
                yield [piece for _, piece in looked]

    def _boxes(self, search: _Search, codes: NDArray[np.uint64]) -> dict[int, Box | None]:
        """Return the exact box of what each of some stored cuboids has of an object."""
        boxes: dict[int, Box | None] = dict.fromkeys(codes.tolist())
        for code, piece in chain.from_iterable(self._look_at(search, codes)):
            boxes[code] = _around([boxes[code], piece.tight_box])
        return boxes

    def _look_at(
        self, search: _Search, codes: NDArray[np.uint64]
    ) -> Iterator[list[tuple[int, ObjectPart]]]:
        """Look at stored cuboids, some at once."""
        at_once = _CUBOIDS_AT_ONCE // (1 if search.whole else search.source.magnification)
        for some in _batches(search.source.volume.by_supercuboid(codes), at_once):
            tasks = (partial(self._look, search, *each) for each in some)
            yield list(chain.from_iterable(run_all(self._executor, tasks)))

    def _look(self, search: _Search, code: int, slots: list[int]) -> list[tuple[int, ObjectPart]]:
        """Return what cuboids of a supercuboid have of an object, with their Morton codes."""
        source, found = search.source, list[tuple[int, ObjectPart]]()
        block = self._block(source.volume, code)
        for slot in slots:
            mask = block.has_any(slot, search.wanted)
            corner = source.volume.corner(code, slot)
            held = mask_box(mask, corner)
            box = None if held is None else source.shown_box(held, search.within)
            if box is None:
                continue
            if not search.whole and box.voxels > _MOST_SHOWN:
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
        """Return what tells whether a supercuboid (Morton code) is stored; None: there is none."""
        prefix = volume.key(0).rpartition("/")[0]
        if next(iter(self._objects.list(f"{prefix}/")), None) is None:
            return None  # as a rule: nobody paints at a resolution that is zoomed
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
        """Return the Morton codes of stored cuboids that may hold labels (shown in a box)."""
        volume, cells = source.volume, None
        if within is not None:
            box = source.source_box(within)
            cells = volume.cells(box)
            if cell_count(box, volume.layout.supercuboid_xyz) <= len(labels):
                # A query is about a GET: so many of them cost more than to look everywhere.
                return np.sort(morton.plan(cells.start_xyz, cells.stop_xyz), axis=None)
        query = partial(self._index.cuboids, volume.scope, cells=cells)
        found = run_all(self._executor, (partial(query, label) for label in labels))
        return np.unique(np.concatenate([np.empty(0, np.uint64), *found]))

    def _block(self, volume: LabelVolume, code: int) -> LabelBlock:
        stored = read_stored(self._objects, volume.place(code))
        return LabelBlock(None if stored is None else stored.data, volume.layout)


def _array(labels: Collection[int]) -> NDArray[np.uint64]:
    return np.array(sorted(labels), np.uint64)


def _check_shown(piece: ObjectPart) -> None:
    """Refuse what would be very many pieces, before it is cut."""
    if piece.count > _MOST_SHOWN:
        raise PayloadTooLargeError(
            f"The object has more than {_MOST_SHOWN} voxels at this resolution; ask for a "
            "coarser one, or for its bounding box.",
            limit=_MOST_SHOWN,
        )


def _batches(found: Mapping[int, list[int]], size: int) -> Iterator[list[tuple[int, list[int]]]]:
    """Group supercuboids (Morton code to slots) so that a group has not too many cuboids."""
    batch, taken = list[tuple[int, list[int]]](), 0
    for code, slots in found.items():
        if batch and taken + len(slots) > size:
            yield batch
            batch, taken = [], 0
        batch.append((code, slots))
        taken += len(slots)
    if batch:
        yield batch


def _around(boxes: Iterable[Box | None]) -> Box | None:
    """Return the box around those of some boxes that there are."""
    return reduce(_hull, (box for box in boxes if box is not None), None)


def _hull(first: Box | None, second: Box) -> Box:
    if first is None:
        return second
    starts = map(min, first.start_xyz, second.start_xyz)
    stops = map(max, first.stop_xyz, second.stop_xyz)
    (x0, y0, z0), (x1, y1, z1) = starts, stops
    return Box((x0, y0, z0), (x1, y1, z1))
