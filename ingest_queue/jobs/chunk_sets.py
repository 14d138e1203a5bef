"""Chunks of a job in sets of 256 a row, so that a million of them are counted in few rows.

Beside the tree of built chunks (``set_tree``, whose rows are read here, too) there are two kinds
of sets, which only grow:

=========  =======================================================================================
``came``   chunks of which a part came
``odd``    chunks that only their own rows tell of: one was opened again, a part of it went, or
           slices of it were no use
=========  =======================================================================================

Both are entered before what they tell of happens: a process that dies in between leaves a chunk
that is looked at for nothing, never one that is overlooked.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ingest_queue.jobs.set_tree import WAYS, done_key
from ndlambda.services.support.paging import rows_in
from ndlambda.stores.ports import Row, Table

Marks: TypeAlias = NDArray[np.bool_]
"""Which of the chunks of a window are in a set."""

_WINDOW = WAYS * WAYS
_CAME, _ODD, _BUILT = "came", "odd", done_key(0)


@dataclass(frozen=True, slots=True)
class Window:
    """What the sets hold of some consecutive chunks.

    Attributes
    ----------
    first
        Number of the first chunk.
    built, came, odd
        Which of them are in the sets.
    """

    first: int
    built: Marks
    came: Marks
    odd: Marks

    def numbers(self, marks: Marks) -> NDArray[np.int64]:
        """Return the numbers of the chunks that are marked."""
        return np.flatnonzero(marks) + self.first


@dataclass(frozen=True, slots=True)
class ChunkSets:
    """The sets of one job.

    Attributes
    ----------
    table, partition
        Where the rows are: sort keys ``came#GROUP`` and ``odd#GROUP``.
    """

    table: Table
    partition: str

    def add_came(self, number: int) -> None:
        """Enter a chunk of which a part comes."""
        self._add(_CAME, number)

    def add_odd(self, number: int) -> None:
        """Enter a chunk whose row has to be asked."""
        self._add(_ODD, number)

    def windows(self, span: range, *, built_came: bool) -> Iterator[Window | range]:
        """Iterate over what the sets hold of the chunks of a span, in order.

        Parameters
        ----------
        built_came
            Whether of every built chunk something came: then fewer rows are read.

        Yields
        ------
        Window or range
            A range of chunks, of any length, where nothing is in any set.
        """
        start = span.start
        while start < span.stop:
            stop = min((start // _WINDOW + 1) * _WINDOW, span.stop)
            window = self._window(range(start, stop), built_came=built_came)
            if window.built.any() or window.came.any() or window.odd.any():
                yield window
            else:
                stop = self._next(stop, span.stop)
                yield range(start, stop)
            start = stop

    def _window(self, numbers: range, *, built_came: bool) -> Window:
        """Read as few rows as tell of these chunks: none of those of groups that are full."""
        groups = range(numbers.start // WAYS, (numbers.stop - 1) // WAYS + 1)
        whole = range(groups.start * WAYS, groups.stop * WAYS)
        built = np.repeat(self._read(done_key(1), groups), WAYS)
        came = built & built_came
        self._fill(built, _BUILT, whole)
        self._fill(came, _CAME, whole)
        cut = slice(numbers.start - whole.start, numbers.stop - whole.start)
        return Window(numbers.start, built[cut], came[cut], self._read(_ODD, whole)[cut])

    def _fill(self, marks: Marks, kind: str, numbers: range) -> None:
        """Read the sets of a kind between the first and the last chunk that is not marked."""
        left = np.flatnonzero(~marks)
        if left.size:
            start, stop = int(left[0]) // WAYS * WAYS, (int(left[-1]) // WAYS + 1) * WAYS
            marks[start:stop] |= self._read(kind, numbers[start:stop])

    def _next(self, start: int, stop: int) -> int:
        """Return where, from ``start`` on, the first group with members begins, or ``stop``."""
        found = stop
        for kind in (_CAME, _ODD, _BUILT) if start < stop else ():
            first, last = _sort_key(kind, start), _sort_key(kind, stop - 1)
            for row in self.table.query(self.partition, first=first, last=last, limit=1).rows:
                found = min(found, _group(row) * WAYS)
        return max(found, start)

    def _add(self, kind: str, number: int) -> None:
        self.table.add_members(self.partition, _sort_key(kind, number), {number % WAYS})

    def _read(self, kind: str, numbers: range) -> Marks:
        """Return which of the numbers are in the sets of a kind."""
        first, last = _sort_key(kind, numbers.start), _sort_key(kind, numbers.stop - 1)
        # Whole groups are read, and what is outside of the numbers is cut off.
        base = numbers.start // WAYS * WAYS
        found = np.zeros(-(-(numbers.stop - base) // WAYS) * WAYS, np.bool_)
        for row in rows_in(self.table, self.partition, first, last):
            at = _group(row) * WAYS - base
            found[np.fromiter(row.members, np.intp, len(row.members)) + at] = True
        return found[numbers.start - base : numbers.stop - base]


def _sort_key(kind: str, number: int) -> str:
    return f"{kind}#{number // WAYS:012x}"


def _group(row: Row) -> int:
    return int(row.sk.rpartition("#")[2], 16)
