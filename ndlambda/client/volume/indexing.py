"""Parses the key of ``volume[...]`` into a box in dataset coordinates."""

import operator
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, SupportsIndex, TypeAlias

import numpy as np

from ndlambda.errors import EmptyBoxError, InvalidArgumentError, OutOfBoundsError
from ndlambda.space.box import Box

Interval = tuple[int, int]
"""Half-open range of coordinates of one axis."""

Index: TypeAlias = SupportsIndex | slice | EllipsisType
Key: TypeAlias = Index | tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """A parsed key.

    Attributes
    ----------
    box
        Dataset coordinates, offset included.
    times
        Half-open range of time points if the key has four entries, else None.
    dropped
        Axes of the (t,) z, y, x result that an integer selects, to be removed from it.
    """

    box: Box
    times: Interval | None
    dropped: tuple[int, ...]

    @property
    def full_shape(self) -> tuple[int, ...]:
        """Shape before axes are dropped: (t,) z, y, x."""
        if self.times is None:
            return self.box.shape_zyx
        return (self.times[1] - self.times[0], *self.box.shape_zyx)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return tuple(n for axis, n in enumerate(self.full_shape) if axis not in self.dropped)


def parse_key(key: Any, bounds_zyx: tuple[Interval, ...], bounds_t: Interval) -> Selection:
    """Parse a key of one to four integers, slices and at most one Ellipsis.

    Up to three entries, not counting an Ellipsis, address z, y, x; four address t, z, y, x.

    Raises
    ------
    InvalidArgumentError
        Too many entries, a step, or something that is neither integer, slice nor Ellipsis.
    OutOfBoundsError
        A coordinate is outside the volume. Unlike numpy, a slice is not clipped: with an offset
        that would silently return fewer voxels than requested.
    EmptyBoxError
        A slice ends at or before its start.
    """
    entries = key if isinstance(key, tuple) else (key,)
    explicit = sum(entry is not Ellipsis for entry in entries)
    if len(entries) - explicit > 1:
        raise InvalidArgumentError("A volume index has at most one Ellipsis.")
    if explicit > 4:
        raise InvalidArgumentError(
            f"A volume has the axes (t,) z, y, x; {explicit} indices were given."
        )
    axes, bounds = "zyx", bounds_zyx
    if explicit == 4:
        axes, bounds = "tzyx", (bounds_t, *bounds_zyx)
    filled = _without_ellipsis(entries, len(axes) - explicit)
    ranges = [
        _range(axis, entry, bound) for axis, entry, bound in zip(axes, filled, bounds, strict=True)
    ]
    dropped = tuple(axis for axis, entry in enumerate(filled) if not isinstance(entry, slice))
    (z0, z1), (y0, y1), (x0, x1) = ranges[-3:]
    times = ranges[0] if explicit == 4 else None
    if times is not None and times[0] >= times[1]:
        raise EmptyBoxError(f"The t range {times[0]}:{times[1]} is empty; give start < stop.")
    return Selection(Box((x0, y0, z0), (x1, y1, z1)), times, dropped)


def _without_ellipsis(entries: tuple[Any, ...], missing: int) -> list[Any]:
    filler = [slice(None)] * missing
    for position, entry in enumerate(entries):
        if entry is Ellipsis:
            return [*entries[:position], *filler, *entries[position + 1 :]]
    return [*entries, *filler]


def _range(axis: str, entry: Any, bound: Interval) -> Interval:
    first, last = bound
    if not isinstance(entry, slice):
        at = _coordinate(axis, entry, bound, last - 1)
        return at, at + 1
    if entry.step is not None and entry.step != 1:
        raise InvalidArgumentError(
            f"A step ({entry.step}) is not read by the server; take the box and stride the array, "
            "or use volume.at(resolution) for a coarser level."
        )
    start = first if entry.start is None else _coordinate(axis, entry.start, bound, last)
    stop = last if entry.stop is None else _coordinate(axis, entry.stop, bound, last)
    return start, stop


def _coordinate(axis: str, value: Any, bound: Interval, largest: int) -> int:
    if isinstance(value, bool | np.bool_):
        raise InvalidArgumentError("Masks do not index a volume; read a box and mask the array.")
    try:
        coordinate = operator.index(value)
    except TypeError:
        raise InvalidArgumentError(
            f"{value!r} does not index a volume; give integers, slices or an Ellipsis."
        ) from None
    first, last = bound
    if coordinate < 0:
        coordinate += last
    if not first <= coordinate <= largest:
        raise OutOfBoundsError(
            f"{axis} = {value} is outside {first}:{last} (coordinates include the offset).",
            axis=axis,
            start=first,
            stop=last,
        )
    return coordinate
