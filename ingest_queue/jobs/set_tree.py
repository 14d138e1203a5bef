"""Tracks which of many numbered tasks are done, with idempotent writes.

A tree of sets, 256 ways: a number is added to the set of its group; the writer that fills a group
adds the group to the set above, and so on to the root. Adding again is harmless and continues where
a process died, and every set can be recomputed from the tasks themselves. (A counter would count a
redelivered message twice.)
"""

from collections.abc import Iterator
from dataclasses import dataclass

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
        level, size = 0, self.count
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
        """Complete additions interrupted between two levels; return whether the set is full."""
        for row in list(self._groups()):
            group = int(row.sk.rpartition("#")[2], 16)
            if len(row.members) == self._width(self.count, group):
                self.enter(group * WAYS)
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
        for row in self._groups():
            first = int(row.sk.rpartition("#")[2], 16) * WAYS
            yield from (first + member for member in sorted(row.members))

    def size(self) -> int:
        """Return the number of members."""
        return sum(len(row.members) for row in self._groups())

    def has(self, number: int) -> bool:
        """Return whether a number is in the set."""
        group, member = divmod(number, WAYS)
        row = self.table.get(*self._key(0, group))
        return row is not None and member in row.members

    def missing(self, after: int = -1) -> Iterator[int]:
        """Iterate over the numbers > after that are not in the set, ascending."""
        known = {int(row.sk.rpartition("#")[2], 16): row.members for row in self._groups()}
        for group in range((after + 1) // WAYS, -(-self.count // WAYS)):
            members = known.get(group, frozenset())
            for member in range(self._width(self.count, group)):
                number = group * WAYS + member
                if number > after and member not in members:
                    yield number

    def _groups(self) -> Iterator[Row]:
        return rows_in(self.table, self.partition, *prefixed("done#0#"))

    def _key(self, level: int, group: int) -> tuple[str, str]:
        return self.partition, f"{done_key(level)}#{group:012x}"

    @staticmethod
    def _width(size: int, group: int) -> int:
        return min(WAYS, size - group * WAYS)
