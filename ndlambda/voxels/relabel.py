"""Replaces labels by another one, or erases them: voxels of merged and of deleted objects.

Main and extra labels are changed alike. A survivor obeys the rules of painted labels: it is
an extra label of a voxel at most once, and never besides being its main label.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.space.box import Box
from ndlambda.voxels.extra_labels import ExtraLabels
from ndlambda.voxels.paint import Painted, distinct


def is_any(array: NDArray[Any], labels: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return where an array of unsigned integers of any shape has any of some labels."""
    fitting = labels[labels <= np.iinfo(array.dtype).max].astype(array.dtype)
    if fitting.size == 1:  # about ten times as fast as the general case
        found: NDArray[np.bool_] = array == fitting[0]
        return found
    return np.isin(array, fitting)


def relabel(
    base: NDArray[Any],
    extra: ExtraLabels,
    losers: NDArray[np.uint64],
    survivor: int,
    part: Box | None = None,
) -> Painted:
    """Return a block in which labels are replaced by another one; the inputs are not changed.

    Parameters
    ----------
    base
        Main labels (z, y, x), unsigned, C-ordered.
    extra
        Extra labels of the block.
    losers, survivor
        The labels to replace, and their replacement, which is not among them.
    part
        Restricts the change, in voxels from the block's corner; None is everywhere.
    """
    own = is_any(base, losers)
    beside = np.isin(extra.labels, losers)
    if part is not None:
        inside = np.zeros(base.shape, np.bool_)
        inside[part.slices_zyx()] = True
        own &= inside
        beside &= inside.reshape(-1)[extra.at]
    painted, kept = base, extra
    if own.any():
        painted = base.copy()
        painted[own] = survivor
    if beside.any():
        kept = ExtraLabels.of(extra.at, np.where(beside, np.uint64(survivor), extra.labels))
    if painted is base and kept is extra:
        return Painted(base, extra)
    redundant = kept.labels == painted.reshape(-1)[kept.at]
    if redundant.any():
        kept = kept.where(~redundant)
    before, after = distinct(base) | extra.distinct(), distinct(painted) | kept.distinct()
    return Painted(painted, kept, after - before, before - after)


def erase(base: NDArray[Any], extra: ExtraLabels, labels: NDArray[np.uint64]) -> Painted:
    """Return a block without some labels; the inputs are not changed.

    Parameters
    ----------
    base
        Main labels (z, y, x), unsigned, C-ordered.
    extra
        Extra labels of the block. Those of a voxel that loses its main label stay.
    labels
        The labels to erase.
    """
    own, beside = is_any(base, labels), np.isin(extra.labels, labels)
    painted = np.where(own, base.dtype.type(0), base) if own.any() else base
    kept = extra.where(~beside) if beside.any() else extra
    before, after = distinct(base) | extra.distinct(), distinct(painted) | kept.distinct()
    return Painted(painted, kept, after - before, before - after)
