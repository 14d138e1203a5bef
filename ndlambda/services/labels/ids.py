"""Allocates annotation ids.

The free ids of a channel form one interval that only shrinks, so no id is issued twice. Ids are
issued from its lower end. Before a label chosen by the caller is painted, the lower end is raised
to it, so that the next id is greater (the largest id plus one, as in ndstore). A label near the
largest representable one, which some programs use for "unknown", would leave no ids. So where fewer
than a sixteenth of all ids would remain, the upper end is lowered instead: the new interval is the
uppermost gap between labels with that many ids, or else the widest gap.

Both ends are counters that only grow (the upper one counts the ids above the interval). So an id
outside the interval stays outside under concurrent changes: no id is issued twice, and none that
was painted before.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import InvalidArgumentError, InvalidStateError
from ndlambda.model.catalog import Channel
from ndlambda.services.support.paging import Key
from ndlambda.stores.ports import Row, Table

_LAST: Final = "last"
_ABOVE: Final = "above"
_MIN_FREE_SHIFT: Final = 4
_MAX_CACHED: Final = 4096


def counter_key(uid: str) -> Key:
    """Return the key of a channel's counters."""
    return f"label#{uid}", "ids"


def largest_label(channel: Channel) -> int:
    """Return the largest label that the channel's voxels can hold."""
    bits: int = channel.dtype.itemsize * 8
    return (1 << bits) - 1


def check_label(channel: Channel, label: int) -> None:
    """Refuse a number that cannot label voxels of a channel.

    Raises
    ------
    InvalidArgumentError
        It is 0, negative, or too large for the channel's voxels.
    """
    largest = largest_label(channel)
    if not 0 < label <= largest:
        raise InvalidArgumentError(
            f"An id in channel {channel.name!r} is from 1 to {largest}, not {label}.",
            id=label,
            limit=largest,
        )


@dataclass(frozen=True, slots=True)
class FreeIds:
    """The free ids: those above ``last`` and below ``end``."""

    last: int
    end: int

    @classmethod
    def of(cls, channel: Channel, row: Row | None = None) -> Self:
        """Return the free ids of a channel by its row; without one, all ids."""
        counters = {} if row is None else row.counters
        end = largest_label(channel) + 1 - counters.get(_ABOVE, 0)
        return cls(counters.get(_LAST, 0), end)

    def without(self, labels: NDArray[Any], min_free: int) -> Self:
        """Return an interval of free ids that excludes labels.

        Parameters
        ----------
        labels
            Unsigned integers, any shape.
        min_free
            Number of ids that should be left.
        """
        top = int(labels.max(initial=0))
        if top >= self.end:
            top = int(labels.max(where=labels < self.end, initial=0))
        if top <= self.last:
            return self
        if self.end - top > min_free:
            return type(self)(top, self.end)
        inside = np.unique(labels[(labels > self.last) & (labels < self.end)])
        gaps = list(pairwise([self.last, *inside.tolist(), self.end]))
        wide = [(last, end) for last, end in gaps if end - last > min_free]
        return type(self)(*(wide[-1] if wide else max(gaps, key=_width)))


class LabelIds:
    """Issues ids, each once, even if its object was deleted since.

    Parameters
    ----------
    table
        The store of the counters.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._cached: dict[str, FreeIds] = {}

    def reserve(self, channel: Channel, count: int) -> int:
        """Issue ``count`` consecutive ids; return the first.

        Raises
        ------
        InvalidArgumentError
            The count is not positive.
        InvalidStateError
            The channel has too few ids left.
        """
        if count < 1:
            raise InvalidArgumentError(f"Reserve at least one id, not {count}.", count=count)
        # Checked first, so that a refused call does not use up the ids that are left.
        free = self.free_ids(channel)
        if free.last + count < free.end:
            last = self._table.increment(*counter_key(channel.uid), _LAST, count)
            # Checked again: labels painted since may have lowered the upper end.
            if last < self.free_ids(channel).end:
                return last - count + 1
        raise InvalidStateError(
            f"Channel {channel.name!r} has no {count} consecutive ids left.", count=count
        )

    def free_ids(self, channel: Channel) -> FreeIds:
        """Return the free ids of a channel."""
        return FreeIds.of(channel, self._table.get(*counter_key(channel.uid)))

    def claim(self, channel: Channel, label: int) -> None:
        """Exclude an id chosen by the caller from the free ids.

        Raises
        ------
        InvalidArgumentError
            See ``check_label``.
        """
        check_label(channel, label)
        self.claim_all(channel, np.array([label], np.uint64))

    def claim_all(self, channel: Channel, labels: NDArray[Any]) -> None:
        """Claim the labels of voxels: the channel's dtype, any shape; 0 is ignored."""
        min_free = largest_label(channel) >> _MIN_FREE_SHIFT
        # The interval only shrinks, so a cached one that excludes the labels saves the requests.
        cached = self._cached.get(channel.uid, FreeIds.of(channel))
        if cached.without(labels, min_free) == cached:
            return
        free = self.free_ids(channel)
        left = free.without(labels, min_free)
        key = counter_key(channel.uid)
        if left.last > free.last:
            self._table.raise_counter(*key, _LAST, left.last)
        if left.end < free.end:
            self._table.raise_counter(*key, _ABOVE, largest_label(channel) + 1 - left.end)
        if len(self._cached) >= _MAX_CACHED:
            self._cached.clear()
        self._cached[channel.uid] = left


def _width(gap: tuple[int, int]) -> int:
    return gap[1] - gap[0]
