"""Where the looks after a job are, so that each is one page."""

from dataclasses import dataclass, replace
from typing import Final

from ndlambda.stores.ports import Row

_LISTED_EVERY: Final = 16


@dataclass(frozen=True, slots=True)
class Turn:
    """One look after a job.

    Attributes
    ----------
    number
        Of the look, from 1.
    idle
        Looks in a row, this included, since which no chunk was built.
    after
        The chunk after which it continues; -1: from the first.
    """

    number: int = 0
    idle: int = 0
    after: int = -1

    def next(self, *, goes_on: bool) -> "Turn":
        """Return the next look; ``goes_on``: chunks were built since this one."""
        return replace(self, number=self.number + 1, idle=0 if goes_on else self.idle + 1)

    @property
    def lists(self) -> bool:
        """Whether the job's folder is listed for files that were not announced.

        Every few looks, and more often when the job has just stopped to move.
        """
        is_power = self.idle & (self.idle - 1) == 0
        return (self.idle > 0 and is_power) or self.number % _LISTED_EVERY == 1

    @property
    def doc(self) -> dict[str, int]:
        """The row's doc."""
        return {"v": 1, "number": self.number, "idle": self.idle, "after": self.after}

    @classmethod
    def from_row(cls, row: Row | None) -> "Turn":
        """Return the look in a row; that before the first without one."""
        if row is None:
            return cls()
        return cls(row.doc["number"], row.doc["idle"], row.doc["after"])
