"""Reads the labels of one supercuboid from its object, plans changes, and encodes the result."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids import supercuboid
from ndlambda.cuboids.extras import decode_extras, encode_extras
from ndlambda.cuboids.layout import CuboidLayout, cuboid_box
from ndlambda.cuboids.shard import ShardIndex, read_index
from ndlambda.model.discipline import Discipline
from ndlambda.space.box import Box
from ndlambda.voxels.extra_labels import ExtraLabels
from ndlambda.voxels.paint import Painted, Stroke, distinct, paint
from ndlambda.voxels.relabel import erase, is_any, relabel

_Step: TypeAlias = Callable[[NDArray[Any], ExtraLabels], Painted]
"""Returns a cuboid after a change, given its labels and its extra labels."""


@dataclass(frozen=True, slots=True)
class Change:
    """The change of a supercuboid.

    Attributes
    ----------
    cuboids
        Slot to labels (z, y, x), for the cuboids that change.
    extra
        All extra labels; None if they do not change.
    appeared, vanished
        Label to the slots of cuboids that gain it (main or extra), and to those that lose it.
    """

    cuboids: Mapping[int, NDArray[Any]] = field(default_factory=dict)
    extra: ExtraLabels | None = None
    appeared: Mapping[int, set[int]] = field(default_factory=dict)
    vanished: Mapping[int, set[int]] = field(default_factory=dict)

    @property
    def is_none(self) -> bool:
        """Whether nothing changes."""
        return not self.cuboids and self.extra is None


class LabelBlock:
    """A stored supercuboid of labels; cuboids are decoded on demand.

    Parameters
    ----------
    data
        All bytes of the object, or None if it does not exist.
    layout
        The object's layout.
    """

    def __init__(self, data: memoryview | None, layout: CuboidLayout) -> None:
        self._data = data
        self._layout = layout
        self._cuboid_voxels = math.prod(layout.cuboid_xyz)

    @property
    def is_stored(self) -> bool:
        """Whether the object exists, even if it is empty."""
        return self._data is not None

    def cuboid(self, slot: int) -> NDArray[Any]:
        """Return the labels of a cuboid (z, y, x) as a new array; zeros if it is not stored.

        Raises
        ------
        CuboidDecodeError
            The stored cuboid is damaged.
        """
        cuboid = np.zeros(self._layout.cuboid_shape_zyx, self._layout.dtype)
        if self._data is not None:
            supercuboid.decode_box(self._data, self._layout, cuboid_box(self._layout, slot), cuboid)
        return cuboid

    @cached_property
    def extra(self) -> ExtraLabels:
        """All extra labels; voxel i of slot s is ``s * voxels of a cuboid + i``.

        Raises
        ------
        CuboidDecodeError
            The extra labels are damaged.
        """
        if self._data is None:
            return ExtraLabels.none()
        voxels = self._layout.slots * self._cuboid_voxels
        return decode_extras(supercuboid.extras(self._data), voxels)

    def extra_of(self, slot: int) -> ExtraLabels:
        """Return the extra labels of a cuboid, with voxels as C-order indices in the cuboid."""
        return self.extra.between(*self._range(slot))

    def labels(self, slot: int) -> frozenset[int]:
        """Return the labels of a cuboid, main and extra."""
        return distinct(self.cuboid(slot)) | self.extra_of(slot).distinct()

    def has_label(self, slot: int, label: int) -> NDArray[np.bool_]:
        """Return where (z, y, x) a cuboid has a label, main or extra."""
        return self.has_any(slot, np.array([label], np.uint64))

    def has_any(self, slot: int, labels: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return where (z, y, x) a cuboid has any of some labels, main or extra."""
        found = is_any(self.cuboid(slot), labels)
        found.reshape(-1)[self.extra_of(slot).among(labels).at] = True
        return found

    def painted(self, strokes: Mapping[int, Sequence[Stroke]], discipline: Discipline) -> Change:
        """Return the change that strokes make; they are given by slot, in order of painting."""
        return self._change(
            (slot, partial(paint, strokes=each, discipline=discipline))
            for slot, each in sorted(strokes.items())
            if any(map(len, each))
        )

    def erased(self, labels: NDArray[np.uint64]) -> Change:
        """Return the change that removes labels from all voxels, main and extra."""
        slots = filter(self._may_hold, range(self._layout.slots))
        return self._change((slot, partial(erase, labels=labels)) for slot in slots)

    def relabelled(
        self, losers: NDArray[np.uint64], survivor: int, box: Box | None = None
    ) -> Change:
        """Return the change that replaces labels by another one, main and extra.

        Parameters
        ----------
        losers, survivor
            The labels to replace, and their replacement, which is not among them.
        box
            Restricts the change, in voxels from the supercuboid's corner; None is everywhere.
        """
        return self._change(
            (slot, partial(relabel, losers=losers, survivor=survivor, part=part))
            for slot, part in self._parts(box)
            if self._may_hold(slot)
        )

    def replaced(self, cuboids: Mapping[int, NDArray[Any]]) -> Change:
        """Return the change that replaces all stored labels; it is never empty.

        Parameters
        ----------
        cuboids
            Slot to labels (z, y, x); other cuboids become zero. Extra labels are removed.

        Raises
        ------
        CuboidDecodeError
            A stored cuboid is damaged.
        """
        none = np.zeros(self._layout.cuboid_shape_zyx, self._layout.dtype)
        appeared: dict[int, set[int]] = {}
        vanished: dict[int, set[int]] = {}
        for slot in range(self._layout.slots):
            before = self.labels(slot) if self.is_stored else frozenset[int]()
            after = distinct(cuboids[slot]) if slot in cuboids else frozenset[int]()
            for label in after - before:
                appeared.setdefault(label, set()).add(slot)
            for label in before - after:
                vanished.setdefault(label, set()).add(slot)
        whole = {slot: cuboids.get(slot, none) for slot in range(self._layout.slots)}
        return Change(whole, ExtraLabels.none(), appeared, vanished)

    def rewritten(self, change: Change, write_id: bytes) -> bytes:
        """Return the object after a change (which may be empty), with the id of this write.

        Raises
        ------
        CuboidDecodeError
            The header or index of the object is damaged.
        PayloadTooLargeError
            There would be too many extra labels.
        """
        extras = None if change.extra is None else encode_extras(change.extra)
        return supercuboid.splice(self._data, self._layout, change.cuboids, write_id, extras)

    @cached_property
    def _index(self) -> ShardIndex | None:
        if self._data is None:
            return None
        return read_index(self._data[-self._layout.index_bytes :], self._layout, len(self._data))

    def _may_hold(self, slot: int) -> bool:
        """Return whether a cuboid may have labels: it is stored, or has extra ones."""
        is_stored = self._index is not None and self._index.present(slot)
        return is_stored or len(self.extra_of(slot)) > 0

    def _parts(self, box: Box | None) -> Iterator[tuple[int, Box | None]]:
        """Yield the cuboids that a box of the supercuboid meets, and the part; None: all of it."""
        for slot in range(self._layout.slots):
            cuboid = cuboid_box(self._layout, slot)
            part = cuboid if box is None else cuboid.intersection(box)
            if part is not None:
                x, y, z = cuboid.start_xyz
                yield slot, None if part == cuboid else part.shifted((-x, -y, -z))

    def _change(self, steps: Iterable[tuple[int, _Step]]) -> Change:
        cuboids: dict[int, NDArray[Any]] = {}
        appeared: dict[int, set[int]] = {}
        vanished: dict[int, set[int]] = {}
        extra = self.extra
        for slot, step in steps:
            before = self.cuboid(slot)
            had = extra.between(*self._range(slot))
            after = step(before, had)
            if after.base is not before:
                cuboids[slot] = after.base
            if after.extra is not had:
                extra = extra.replaced(*self._range(slot), after.extra)
            for label in after.appeared:
                appeared.setdefault(label, set()).add(slot)
            for label in after.vanished:
                vanished.setdefault(label, set()).add(slot)
        return Change(cuboids, None if extra is self.extra else extra, appeared, vanished)

    def _range(self, slot: int) -> tuple[int, int]:
        return slot * self._cuboid_voxels, (slot + 1) * self._cuboid_voxels
