"""How often work on a chunk was begun by workers that were never heard of again.

A message that comes back, or a call to a job that makes no progress, means that an earlier try came
to no end. Such tries are counted when they begin, since a worker that is killed has no time to say
so, and no longer counted when they end in any way that somebody thought of.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ndlambda.errors import InvalidStateError, NDLambdaError
from ndlambda.stores.ports import Table

MOST_FAILURES: Final = 5
"""Tries that end with a fault of ours after which a chunk is given up."""

MOST_TRIES: Final = 10
"""Tries of which nothing was heard after which a chunk is given up.

On a laptop all chunks that are being built die with the server, so it is more than the times that
somebody may kill that one.
"""


class HopelessError(InvalidStateError):
    """Another try at a chunk would end as those before."""


@dataclass(frozen=True, slots=True)
class Tries:
    """The tries of a job's chunks since it was made, or since it was last retried.

    Attributes
    ----------
    table, partition, generation
        Where the rows are; their sort keys start with ``try#``.
    """

    table: Table
    partition: str
    generation: int

    @contextmanager
    def trying(self, number: int, attempt: int) -> Iterator[None]:
        """Count a try while it lasts, and give the chunk up where that is no use any more.

        Parameters
        ----------
        attempt
            The how-manieth try this is, from 1: first ones are not counted.

        Raises
        ------
        HopelessError
            Too many tries came to no end, or to one that nobody thought of.
        """
        begun = self.begin(number) if attempt > 1 else 0
        if begun > MOST_TRIES:
            raise HopelessError(
                f"Workers began it {begun} times and came to no end; they may need more memory or "
                "time."
            )
        try:
            yield
        except NDLambdaError:
            if begun:
                self.end(number)
            raise
        except Exception as error:
            if begun < MOST_FAILURES:
                raise
            raise HopelessError(f"{type(error).__name__}: {error}") from error
        if begun:
            self.end(number)

    def begin(self, number: int) -> int:
        """Count a try and give how many came to no end, with this one."""
        return self._add(number, 1)

    def end(self, number: int) -> None:
        """Take back a try that ended."""
        self._add(number, -1)

    def _add(self, number: int, by: int) -> int:
        sk = f"try#{self.generation:x}#{number:012x}"
        return self.table.increment(self.partition, sk, "tries", by)
