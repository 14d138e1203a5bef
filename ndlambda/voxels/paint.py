"""Painting labels over labels, by every write discipline, voxel by voxel.

A voxel has one label of its own (0: none) and, on channels that allow it, extra labels beside it.
An extra label is never 0 and never the voxel's own label. What a stroke of label n does:

==========  ======================  ============================  ================================
discipline  voxel without label     voxel labelled n              voxel with another label
==========  ======================  ============================  ================================
overwrite   becomes n               stays                         becomes n
preserve    becomes n               stays                         stays
exception   becomes n               stays                         stays, and gets n as extra label
reduce      loses an extra n        becomes 0                     loses an extra n
==========  ======================  ============================  ================================

Only ``reduce`` takes extra labels away (and any discipline that makes one the voxel's own): what is
painted over a voxel says nothing about the other objects that it belongs to. A voxel may be left
with extra labels only. The rules are ndstore's (its C functions and its intent where they failed).
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
    """What is painted in a block: at most one label a voxel.

    Attributes
    ----------
    at
        int64, shape (n,), ascending, each voxel once: C-order indices in the block.
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
            Where in the block the array lies, in voxels from the block's corner.
        shape_zyx
            The block's.
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
        """Return strokes that paint voxels of a block one by one, if they are made in order.

        No voxel matters to another, so the first stroke has the first label of each voxel, the
        next the second of those that have a second one, and so on.

        Parameters
        ----------
        points_xyz
            Shape (n, 3), columns x, y, z from the block's corner, in the order of painting.
        labels
            Shape (n,), the block's dtype: the label of each, not 0.
        shape_zyx
            The block's.
        """
        x, y, z = points_xyz.astype(np.int64, copy=False).T
        at = (z * shape_zyx[1] + y) * shape_zyx[2] + x
        order = np.argsort(at, kind="stable")
        at, labels = at[order], labels[order]
        # The same label at once again changes nothing, whatever the discipline.
        fresh = np.ones(at.size, np.bool_)
        fresh[1:] = (at[1:] != at[:-1]) | (labels[1:] != labels[:-1])
        at, labels = at[fresh], labels[fresh]
        _, starts, counts = np.unique(at, return_index=True, return_counts=True)
        turn = np.arange(at.size) - np.repeat(starts, counts)
        order = np.argsort(turn, kind="stable")
        ends = np.cumsum(np.bincount(turn))
        return [cls(at[own], labels[own]) for own in np.split(order, ends)[:-1]]


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """A block after a stroke.

    Attributes
    ----------
    base
        Labels of the voxels (z, y, x); the array that was given where none of them changed.
    extra
        The extra labels; the set that was given where it did not change.
    appeared, vanished
        Labels (own or extra) that the block has now and had not, and the reverse.
    """

    base: NDArray[Any]
    extra: ExtraLabels
    appeared: frozenset[int] = frozenset()
    vanished: frozenset[int] = frozenset()


def paint(
    base: NDArray[Any], extra: ExtraLabels, strokes: Sequence[Stroke], discipline: Discipline
) -> Painted:
    """Return a block of labels after strokes, made in order; nothing is changed in place.

    Parameters
    ----------
    base
        Labels (z, y, x), unsigned, C-ordered.
    extra
        Extra labels of the block.
    strokes
        What is painted.
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
    """Return labels and extra labels after one stroke, the very ones given where they stay."""
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
        # What has become the voxel's own label is no longer an extra one.
        kept = _reduced(kept, kept.labels != painted.reshape(-1)[kept.at])
    united = kept.union(added)
    return painted, united if len(united) > len(kept) else kept


def distinct(labels: NDArray[Any]) -> frozenset[int]:
    """Return the labels of an array of any shape; 0 is none."""
    flat = labels.reshape(-1)
    if not flat.size:
        return frozenset()
    # Labels come in runs; sorting one voxel of each is some ten times as fast as sorting all.
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
