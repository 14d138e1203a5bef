"""The ids of a channel's labels: what was given or painted lies outside of a room, which shrinks.

Ids are given from the lower end of the room. Before anybody paints a label of his own choice, the
lower end is raised to it, so that the next id is above (the largest id and one more, as in
ndstore). But a label near the largest that voxels hold, as some programs mark what they know
nothing of, would leave no ids for anybody. So where less than a sixteenth of all would be left, the
upper end is lowered to such labels: what stays is the uppermost stretch between labels that has as
many ids, or else the widest.

Both ends are counters that only grow (the upper one counts the ids above the room), so whatever is
outside stays there, whoever moves them at the same time: no id is given twice, and none that was
painted before.
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
_LEAST_SHIFT: Final = 4
_REMEMBERED: Final = 4096


def counter_key(uid: str) -> Key:
    """Return the keys of a channel's counter."""
    return f"label#{uid}", "ids"


def largest_label(channel: Channel) -> int:
    """Return the largest label that the channel's voxels hold."""
    bits: int = channel.dtype.itemsize * 8
    return (1 << bits) - 1


def check_label(channel: Channel, label: int) -> None:
    """Make sure that a number can label voxels.

    Raises
    ------
    InvalidArgumentError
        It is 0, negative, or wider than the channel's voxels.
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
    """The ids above ``last`` and below ``end``: those that may be given."""

    last: int
    end: int

    @classmethod
    def of(cls, channel: Channel, row: Row | None = None) -> Self:
        """Return what a channel's row says; without one, all ids."""
        counters = {} if row is None else row.counters
        end = largest_label(channel) + 1 - counters.get(_ABOVE, 0)
        return cls(counters.get(_LAST, 0), end)

    def without(self, labels: NDArray[Any], least: int) -> Self:
        """Return what is left outside of labels.

        Parameters
        ----------
        labels
            Unsigned integers, any shape.
        least
            Ids that should be left.
        """
        top = int(labels.max(initial=0))
        if top >= self.end:
            top = int(labels.max(where=labels < self.end, initial=0))
        if top <= self.last:
            return self
        if self.end - top > least:
            return type(self)(top, self.end)
        inside = np.unique(labels[(labels > self.last) & (labels < self.end)])
        stretches = list(pairwise([self.last, *inside.tolist(), self.end]))
        wide = [(last, end) for last, end in stretches if end - last > least]
        return type(self)(*(wide[-1] if wide else max(stretches, key=_width)))


class LabelIds:
    """Rooms of ids. An id is given once, also when its object has been deleted since.

    Parameters
    ----------
    table
        Where the counters are.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rooms: dict[str, FreeIds] = {}

    def reserve(self, channel: Channel, count: int) -> int:
        """Return the first of ``count`` consecutive ids that nobody else gets.

        Raises
        ------
        InvalidArgumentError
            The count is not positive.
        InvalidStateError
            The channel has not so many ids left.
        """
        if count < 1:
            raise InvalidArgumentError(f"Reserve at least one id, not {count}.", count=count)
        # Looking first keeps a refused call from using up what is left.
        room = self.room(channel)
        if room.last + count < room.end:
            last = self._table.increment(*counter_key(channel.uid), _LAST, count)
            # And again: labels that were painted since may have lowered the upper end.
            if last < self.room(channel).end:
                return last - count + 1
        raise InvalidStateError(
            f"Channel {channel.name!r} has not {count} ids left in a row.", count=count
        )

    def room(self, channel: Channel) -> FreeIds:
        """Return the ids that may still be given."""
        return FreeIds.of(channel, self._table.get(*counter_key(channel.uid)))

    def claim(self, channel: Channel, label: int) -> None:
        """Make sure that an id which the caller chose is never given to anybody later.

        Raises
        ------
        InvalidArgumentError
            See ``check_label``.
        """
        check_label(channel, label)
        self.claim_all(channel, np.array([label], np.uint64))

    def claim_all(self, channel: Channel, labels: NDArray[Any]) -> None:
        """Do as ``claim`` for the labels of voxels: the channel's dtype, any shape; 0 is none."""
        least = largest_label(channel) >> _LEAST_SHIFT
        # A room only shrinks, so what this process has seen is enough to spare the requests.
        known = self._rooms.get(channel.uid, FreeIds.of(channel))
        if known.without(labels, least) == known:
            return
        room = self.room(channel)
        left = room.without(labels, least)
        key = counter_key(channel.uid)
        if left.last > room.last:
            self._table.raise_counter(*key, _LAST, left.last)
        if left.end < room.end:
            self._table.raise_counter(*key, _ABOVE, largest_label(channel) + 1 - left.end)
        if len(self._rooms) >= _REMEMBERED:
            self._rooms.clear()
        self._rooms[channel.uid] = left


def _width(stretch: tuple[int, int]) -> int:
    return stretch[1] - stretch[0]
