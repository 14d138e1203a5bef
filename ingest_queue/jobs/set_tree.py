"""Tracks which of many numbered tasks are done, with idempotent writes.

A tree of sets, 256 ways: a number is added to the set of its group; the writer that fills a group
adds the group to the set above, and so on to the root. Adding again is harmless and continues where
a process died, and every set can be recomputed from the tasks themselves. (A counter would count a
redelivered message twice.)
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import count

from ndlambda.services.support.paging import prefixed, rows_in
from ndlambda.stores.ports import Row, Table

WAYS = 256
"""Numbers in one row."""


def done_key(level: int) -> str:
    """Return the sort-key prefix of a level of the tree."""
    return f"done#{level}"


@dataclass(frozen=True, slots=True)
class SetTree:
    """The set of numbers from 0 to ``count - 1`` that are done.

    Attributes
    ----------
    table, partition
        Where the rows are; their sort keys start with ``done#``.
    count
        Size of the whole range; at least one.
    """

    table: Table
    partition: str
    count: int

    def enter(self, number: int) -> bool:
        """Add a number, and return whether the set is now full."""
        return self._enter(0, self.count, number)

    def _enter(self, level: int, size: int, number: int) -> bool:
        """Add a number to a level that has ``size`` of them, and to those above what that fills."""
        while True:
            group, member = divmod(number, WAYS)
            key = self._key(level, group)
            self.table.add_members(*key, {member})
            row = self.table.get(*key)
            if row is None or len(row.members) < self._width(size, group):
                return False
            size = -(-size // WAYS)
            if size == 1:
                return True
            level, number = level + 1, group

    def settle(self) -> bool:
        """Complete additions interrupted between two levels; return whether the set is full.

        Only groups are read that the level above lacks, and those between them.
        """
        level, size = 0, self.count
        while size > WAYS:
            above = set(self._members(level + 1))
            for row in list(self._rows(level, _first_absent(above))):
                group = _group(row)
                if group not in above and len(row.members) == self._width(size, group):
                    self._enter(level + 1, -(-size // WAYS), group)
            level, size = level + 1, -(-size // WAYS)
        return self.is_full()

    def is_full(self) -> bool:
        """Return whether all numbers, and every group above them, were added."""
        level, size = 0, self.count
        while size > WAYS:
            level, size = level + 1, -(-size // WAYS)
        row = self.table.get(*self._key(level, 0))
        return row is not None and len(row.members) == size

    def entered(self) -> Iterator[int]:
        """Iterate over the numbers in the set."""
        return self._members(0)

    def size(self) -> int:
        """Return the number of members; groups known to be full are not read, but for some."""
        full = self._full_groups()
        rows = self._rows(0, _first_absent(full))
        partial = sum(len(row.members) for row in rows if _group(row) not in full)
        return partial + sum(self._width(self.count, group) for group in full)

    def has(self, number: int) -> bool:
        """Return whether a number is in the set."""
        group, member = divmod(number, WAYS)
        row = self.table.get(*self._key(0, group))
        return row is not None and member in row.members

    def missing(self, after: int = -1) -> Iterator[int]:
        """Iterate over the numbers > after that are not in the set, ascending."""
        full, start = self._full_groups(), (after + 1) // WAYS
        known = {_group(row): row.members for row in self._rows(0, _first_absent(full, start))}
        for group in range(start, -(-self.count // WAYS)):
            if group in full:
                continue
            members = known.get(group, frozenset())
            for member in range(self._width(self.count, group)):
                number = group * WAYS + member
                if number > after and member not in members:
                    yield number

    def _full_groups(self) -> set[int]:
        """Return the groups of the lowest level that the level above has."""
        return set(self._members(1)) if self.count > WAYS else set()

    def _members(self, level: int) -> Iterator[int]:
        for row in self._rows(level):
            first = _group(row) * WAYS
            yield from (first + member for member in sorted(row.members))

    def _rows(self, level: int, first_group: int = 0) -> Iterator[Row]:
        prefix, (_, first) = f"{done_key(level)}#", self._key(level, first_group)
        return rows_in(self.table, self.partition, *prefixed(prefix, first))

    def _key(self, level: int, group: int) -> tuple[str, str]:
        return self.partition, f"{done_key(level)}#{group:012x}"

    @staticmethod
    def _width(size: int, group: int) -> int:
        return min(WAYS, size - group * WAYS)


def _group(row: Row) -> int:
    return int(row.sk.rpartition("#")[2], 16)


def _first_absent(numbers: AbstractSet[int], start: int = 0) -> int:
    """Return the first number from a start on that is not among some."""
    return next(number for number in count(start) if number not in numbers)
