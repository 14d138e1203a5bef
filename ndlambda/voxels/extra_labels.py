"""Labels that a voxel has besides its main label: ndstore's exceptions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ExtraLabels:
    """Unique pairs of a voxel and a label, in ascending order of voxel, then label.

    Attributes
    ----------
    at
        int64, shape (n,): voxels as C-order indices in the owner's block.
    labels
        uint64, shape (n,): never 0.
    """

    at: NDArray[np.int64]
    labels: NDArray[np.uint64]

    @classmethod
    def none(cls) -> "ExtraLabels":
        """Return the empty set."""
        return cls(np.empty(0, np.int64), np.empty(0, np.uint64))

    @classmethod
    def of(cls, at: NDArray[np.integer], labels: NDArray[np.integer]) -> "ExtraLabels":
        """Return the set of pairs given in any order, possibly with duplicates."""
        order = np.lexsort((labels, at))
        pairs = cls(at[order].astype(np.int64), labels[order].astype(np.uint64))
        is_new = np.ones(len(pairs), np.bool_)
        is_new[1:] = (pairs.at[1:] != pairs.at[:-1]) | (pairs.labels[1:] != pairs.labels[:-1])
        return pairs.where(is_new)

    def __len__(self) -> int:
        return int(self.at.size)

    def union(self, other: "ExtraLabels") -> "ExtraLabels":
        """Return the union of two sets."""
        if not len(other):
            return self
        return ExtraLabels.of(
            np.concatenate([self.at, other.at]), np.concatenate([self.labels, other.labels])
        )

    def where(self, kept: NDArray[np.bool_]) -> "ExtraLabels":
        """Return the pairs that a mask of shape (n,) selects."""
        return ExtraLabels(self.at[kept], self.labels[kept])

    def among(self, labels: NDArray[np.uint64]) -> "ExtraLabels":
        """Return the pairs of some labels."""
        wanted = np.isin(self.labels, labels)
        return ExtraLabels(self.at[wanted], self.labels[wanted])

    def between(self, start: int, stop: int) -> "ExtraLabels":
        """Return the pairs of the voxels ``start <= i < stop``, with indices relative to start."""
        first, last = np.searchsorted(self.at, (start, stop))
        return ExtraLabels(self.at[first:last] - start, self.labels[first:last])

    def replaced(self, start: int, stop: int, by: "ExtraLabels") -> "ExtraLabels":
        """Return the set with the pairs of ``start <= i < stop`` replaced.

        ``by`` has indices relative to start, as ``between`` returns them.
        """
        first, last = np.searchsorted(self.at, (start, stop))
        return ExtraLabels(
            np.concatenate([self.at[:first], by.at + start, self.at[last:]]),
            np.concatenate([self.labels[:first], by.labels, self.labels[last:]]),
        )

    def distinct(self) -> frozenset[int]:
        """Return the labels that occur."""
        return frozenset(np.unique(self.labels).tolist())
