"""Paints labels over labels, voxel by voxel, by every write discipline.

A voxel has one main label (0: none) and, on channels that allow it, extra labels. An extra label is
never 0 and never equal to the voxel's main label. The effect of a stroke of label n:

==========  ======================  ============================  ================================
discipline  voxel without label     voxel labelled n              voxel with another label
==========  ======================  ============================  ================================
overwrite   becomes n               stays                         becomes n
preserve    becomes n               stays                         stays
exception   becomes n               stays                         stays, and gets n as extra label
reduce      loses an extra n        becomes 0                     loses an extra n
==========  ======================  ============================  ================================

Only ``reduce`` removes extra labels (and any discipline that makes one the main label): painting
over a voxel says nothing about the other objects it belongs to. A voxel may have extra labels only.
The rules are ndstore's (its C functions, and their intent where they failed).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.model.discipline import Discipline
from ndlambda.space.box import Box
from ndlambda.voxels.extra_labels import ExtraLabels


@dataclass(frozen=True, slots=True, eq=False)
class Stroke:
    """Labels to paint in a block: at most one label per voxel.

    Attributes
    ----------
    at
        int64, shape (n,), ascending, unique: C-order indices in the block.
    labels
        The block's dtype, shape (n,): never 0.
    """

    at: NDArray[np.int64]
    labels: NDArray[Any]

    def __len__(self) -> int:
        return int(self.at.size)

    @classmethod
    def dense(cls, labels: NDArray[Any], part: Box, shape_zyx: tuple[int, int, int]) -> "Stroke":
        """Return the stroke of the non-zero voxels of an array.

        Parameters
        ----------
        labels
            (z, y, x), the part's shape, the block's dtype.
        part
            Place of the array, in voxels from the block's corner.
        shape_zyx
            Shape of the block.
        """
        z, y, x = np.ogrid[part.slices_zyx()]
        at = (z * shape_zyx[1] + y) * shape_zyx[2] + x
        painted = labels != 0
        if painted.all():
            return cls(at.reshape(-1), labels.reshape(-1))
        return cls(at[painted], labels[painted])

    @classmethod
    def points(
        cls, points_xyz: NDArray[np.integer], labels: NDArray[Any], shape_zyx: tuple[int, int, int]
    ) -> "list[Stroke]":
        """Return strokes that, made in order, paint voxels of a block one by one.

        Voxels are independent, so the first stroke has the first label of each voxel, the next the
        second label of those that have one, and so on.

        Parameters
        ----------
        points_xyz
            Shape (n, 3), columns x, y, z from the block's corner, in painting order.
        labels
            Shape (n,), the block's dtype: each voxel's label, not 0.
        shape_zyx
            Shape of the block.
        """
        x, y, z = points_xyz.astype(np.int64, copy=False).T
        at = (z * shape_zyx[1] + y) * shape_zyx[2] + x
        order = np.argsort(at, kind="stable")
        at, labels = at[order], labels[order]
        # Painting the same label again directly afterwards changes nothing in any discipline.
        is_new = np.ones(at.size, np.bool_)
        is_new[1:] = (at[1:] != at[:-1]) | (labels[1:] != labels[:-1])
        at, labels = at[is_new], labels[is_new]
        _, starts, counts = np.unique(at, return_index=True, return_counts=True)
        turn = np.arange(at.size) - np.repeat(starts, counts)
        order = np.argsort(turn, kind="stable")
        ends = np.cumsum(np.bincount(turn))
        return [cls(at[own], labels[own]) for own in np.split(order, ends)[:-1]]


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """A block after painting.

    Attributes
    ----------
    base
        Main labels (z, y, x); the given array itself if none changed.
    extra
        Extra labels; the given set itself if it did not change.
    appeared, vanished
        Labels (main or extra) that the block gained, and those it lost.
    """

    base: NDArray[Any]
    extra: ExtraLabels
    appeared: frozenset[int] = frozenset()
    vanished: frozenset[int] = frozenset()


def paint(
    base: NDArray[Any], extra: ExtraLabels, strokes: Sequence[Stroke], discipline: Discipline
) -> Painted:
    """Return a block of labels after strokes, made in order; the inputs are not changed.

    Parameters
    ----------
    base
        Main labels (z, y, x), unsigned, C-ordered.
    extra
        Extra labels of the block.
    strokes
        The strokes to paint.
    discipline
        The rule (see the module).
    """
    painted, kept = base, extra
    for stroke in strokes:
        painted, kept = _after(painted, kept, stroke, discipline)
    if painted is base and kept is extra:
        return Painted(base, extra)
    before, after = distinct(base) | extra.distinct(), distinct(painted) | kept.distinct()
    return Painted(painted, kept, after - before, before - after)


def _after(
    base: NDArray[Any], extra: ExtraLabels, stroke: Stroke, discipline: Discipline
) -> tuple[NDArray[Any], ExtraLabels]:
    """Return main and extra labels after one stroke; unchanged ones are returned themselves."""
    held = base.reshape(-1)[stroke.at]
    added = ExtraLabels.none()
    kept = extra
    match discipline.for_voxels:
        case Discipline.PRESERVE:
            written = held == 0
        case Discipline.EXCEPTION:
            written = held == 0
            conflict = ~written & (held != stroke.labels)
            added = ExtraLabels.of(stroke.at[conflict], stroke.labels[conflict])
        case Discipline.REDUCE:
            written = held == stroke.labels
            kept = _without(extra, stroke)
        case _:
            written = held != stroke.labels

    painted = base
    if written.any():
        painted = base.copy()
        erasing = discipline is Discipline.REDUCE
        painted.reshape(-1)[stroke.at[written]] = 0 if erasing else stroke.labels[written]
        # A label that became the main one is no longer an extra one.
        kept = _reduced(kept, kept.labels != painted.reshape(-1)[kept.at])
    united = kept.union(added)
    return painted, united if len(united) > len(kept) else kept


def distinct(labels: NDArray[Any]) -> frozenset[int]:
    """Return the labels of an array of any shape, without 0."""
    flat = labels.reshape(-1)
    if not flat.size:
        return frozenset()
    # Labels come in runs; sorting one voxel per run is about ten times as fast as sorting all.
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    found = np.unique(np.append(flat[starts], flat[:1]))
    return frozenset(found[found != 0].tolist())


def _without(extra: ExtraLabels, stroke: Stroke) -> ExtraLabels:
    """Return the pairs that are not in a stroke."""
    if not len(extra) or not len(stroke):
        return extra
    place = np.minimum(np.searchsorted(stroke.at, extra.at), len(stroke) - 1)
    hit = (stroke.at[place] == extra.at) & (stroke.labels[place] == extra.labels)
    return _reduced(extra, ~hit)


def _reduced(extra: ExtraLabels, kept: NDArray[np.bool_]) -> ExtraLabels:
    return extra if kept.all() else extra.where(kept)
