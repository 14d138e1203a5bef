"""Sets of a job's chunks, 256 in a row, so that a million chunks are counted in few rows.

Beside the tree of built chunks (``set_tree``, whose rows are read here, too) there are two kinds
of sets, which only grow (their sort keys start with ``came`` and ``odd``):

=============  ===================================================================================
received       chunks with a received part
needs_row      chunks whose own rows must be read: a chunk was reopened, a part of it was removed,
               or slices of it were unusable
=============  ===================================================================================

A set is updated before the change that it announces: a process that dies in between causes a row
to be read in vain, but never a chunk to be overlooked.
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
"""Membership of a window's chunks in one set."""

_WINDOW = WAYS * WAYS
_RECEIVED, _NEEDS_ROW, _BUILT = "came", "odd", done_key(0)


@dataclass(frozen=True, slots=True)
class Window:
    """The membership of some consecutive chunks in the sets.

    Attributes
    ----------
    first
        Number of the first chunk.
    built, received, needs_row
        Which of them are in the sets.
    """

    first: int
    built: Marks
    received: Marks
    needs_row: Marks

    def numbers(self, marks: Marks) -> NDArray[np.int64]:
        """Return the numbers of the marked chunks."""
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

    def add_received(self, number: int) -> None:
        """Add a chunk that receives a part."""
        self._add(_RECEIVED, number)

    def add_needs_row(self, number: int) -> None:
        """Add a chunk whose own row must be read."""
        self._add(_NEEDS_ROW, number)

    def windows(self, span: range, *, built_are_received: bool) -> Iterator[Window | range]:
        """Iterate over the windows of a span of chunks, in order.

        Parameters
        ----------
        built_are_received
            Whether every built chunk has a received part: then fewer rows are read.

        Yields
        ------
        Window or range
            A range of chunks, of any length, none of which is in any set.
        """
        start = span.start
        while start < span.stop:
            stop = min((start // _WINDOW + 1) * _WINDOW, span.stop)
            window = self._window(range(start, stop), built_are_received=built_are_received)
            if window.built.any() or window.received.any() or window.needs_row.any():
                yield window
            else:
                stop = self._next(stop, span.stop)
                yield range(start, stop)
            start = stop

    def _window(self, numbers: range, *, built_are_received: bool) -> Window:
        """Read the sets for these chunks; groups known to be full are not read."""
        groups = range(numbers.start // WAYS, (numbers.stop - 1) // WAYS + 1)
        whole = range(groups.start * WAYS, groups.stop * WAYS)
        built = np.repeat(self._read(done_key(1), groups), WAYS)
        received = built & built_are_received
        self._fill(built, _BUILT, whole)
        self._fill(received, _RECEIVED, whole)
        cut = slice(numbers.start - whole.start, numbers.stop - whole.start)
        needs_row = self._read(_NEEDS_ROW, whole)
        return Window(numbers.start, built[cut], received[cut], needs_row[cut])

    def _fill(self, marks: Marks, kind: str, numbers: range) -> None:
        """Read the sets of a kind between the first and the last unmarked chunk."""
        left = np.flatnonzero(~marks)
        if left.size:
            start, stop = int(left[0]) // WAYS * WAYS, (int(left[-1]) // WAYS + 1) * WAYS
            marks[start:stop] |= self._read(kind, numbers[start:stop])

    def _next(self, start: int, stop: int) -> int:
        """Return the start of the first non-empty group from ``start`` on, or ``stop``."""
        found = stop
        for kind in (_RECEIVED, _NEEDS_ROW, _BUILT) if start < stop else ():
            first, last = _sort_key(kind, start), _sort_key(kind, stop - 1)
            for row in self.table.query(self.partition, first=first, last=last, limit=1).rows:
                found = min(found, _group(row) * WAYS)
        return max(found, start)

    def _add(self, kind: str, number: int) -> None:
        self.table.add_members(self.partition, _sort_key(kind, number), {number % WAYS})

    def _read(self, kind: str, numbers: range) -> Marks:
        """Return which of the numbers are in the sets of a kind."""
        first, last = _sort_key(kind, numbers.start), _sort_key(kind, numbers.stop - 1)
        # Whole groups are read and then cut to the numbers.
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
