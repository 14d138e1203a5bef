"""How many of very many numbered things are done, in rows that may be written twice.

A tree of sets, 256 ways: a number enters the set of its group; whoever fills a group enters the
group into the set above, and so on to the root. Entering again is harmless and carries on where
a process died, and every set can be worked out again from the things themselves. (A counter would
count a repeated message twice.)
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ndlambda.services.support.paging import prefixed, rows_in
from ndlambda.stores.ports import Row, Table

WAYS = 256
"""How many numbers one row holds."""


def done_key(level: int) -> str:
    """Return what the sort keys of a level of the tree begin with."""
    return f"done#{level}"


@dataclass(frozen=True, slots=True)
class SetTree:
    """The numbers 0 to ``count - 1`` that were entered so far.

    Attributes
    ----------
    table, partition
        Where the rows are; their sort keys start with ``done#``.
    count
        How many numbers there are; at least one.
    """

    table: Table
    partition: str
    count: int

    def enter(self, number: int) -> bool:
        """Enter a number, and return whether now all are in."""
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
        """Carry on where entering stopped between two levels; return whether all are in."""
        for row in list(self._groups()):
            group = int(row.sk.rpartition("#")[2], 16)
            if len(row.members) == self._width(self.count, group):
                self.enter(group * WAYS)
        return self.is_full()

    def is_full(self) -> bool:
        """Return whether all numbers were entered, and every group above them."""
        level, size = 0, self.count
        while size > WAYS:
            level, size = level + 1, -(-size // WAYS)
        row = self.table.get(*self._key(level, 0))
        return row is not None and len(row.members) == size

    def entered(self) -> Iterator[int]:
        """Iterate over the numbers that were entered."""
        for row in self._groups():
            first = int(row.sk.rpartition("#")[2], 16) * WAYS
            yield from (first + member for member in sorted(row.members))

    def size(self) -> int:
        """Count the numbers that were entered."""
        return sum(len(row.members) for row in self._groups())

    def has(self, number: int) -> bool:
        """Return whether a number was entered."""
        group, member = divmod(number, WAYS)
        row = self.table.get(*self._key(0, group))
        return row is not None and member in row.members

    def missing(self, after: int = -1) -> Iterator[int]:
        """Iterate over numbers > after that were not entered, ascending."""
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
