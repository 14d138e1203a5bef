"""How often work on a chunk was begun by workers that were never heard of again.

A message that comes back, or a call to a job that makes no progress, means that an earlier try came
to no end. Such tries are noted when they begin, since a worker that is killed has no time to say
so, and no longer noted when they end in any way.

Messages are doubled, and a queue that stood still hands out many calls for one chunk at once. So
what is noted is the minute: many tries in one count as one, however many workers are at them.

Row: sk ``try#GENERATION#CHUNK``, members: the minutes; counter ``failures``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ndlambda.errors import InvalidStateError, NDLambdaError
from ndlambda.services.support.retry import optimistic
from ndlambda.stores.ports import Table

MOST_FAILURES: Final = 5
"""Tries that end with a fault of ours after which a chunk is given up."""

MOST_TRIES: Final = 10
"""Tries of which nothing was heard after which a chunk is given up.

On a laptop all chunks that are being built die with the server, so it is more than the times that
somebody may kill that one.
"""

SPAN_S: Final = 60.0
"""Tries that begin within such a span count as one.

A Lambda lives for a quarter of an hour, and is called again every two minutes: of workers that are
alive there are fewer than ``MOST_TRIES`` such spans.
"""


class AttemptsExhaustedError(InvalidStateError):
    """Another try at a chunk would end as those before."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """The tries of a job's chunks since it was made, or since it was last retried.

    Attributes
    ----------
    table, partition, generation
        Where the rows are.
    clock
        Unix seconds.
    """

    table: Table
    partition: str
    generation: int
    clock: Callable[[], float]

    @contextmanager
    def trying(self, number: int, attempt: int) -> Iterator[None]:
        """Note a try while it lasts, and return the chunk up where that is no use any more.

        Parameters
        ----------
        attempt
            The how-manieth try this is, from 1: first ones are not noted.

        Raises
        ------
        HopelessError
            Too many tries came to no end, or to one that nobody thought of.
        """
        if attempt == 1:
            yield
            return
        span = int(self.clock() // SPAN_S)
        begun = self.begin(number, span)
        if begun > MOST_TRIES:
            raise AttemptsExhaustedError(
                f"Workers began it {begun} times and came to no end; they may need more memory or "
                "time."
            )
        try:
            yield
        except NDLambdaError:
            self._end(number, span)
            raise
        except Exception as error:
            self._end(number, span)
            failures = self.table.increment(*self._key(number), "failures")
            if failures < MOST_FAILURES:
                raise
            raise AttemptsExhaustedError(f"{type(error).__name__}: {error}") from error
        self._end(number, span)

    def begin(self, number: int, span: int) -> int:
        """Note a try and give in how many spans some came to no end, with this one."""
        self.table.add_members(*self._key(number), {span})
        row = self.table.get(*self._key(number))
        return 1 if row is None else len(row.members)

    def forget(self, number: int) -> None:
        """Let a chunk that was given up have as many tries again."""
        self.table.delete(*self._key(number))

    def _end(self, number: int, span: int) -> None:
        """Take back a try that ended; where others keep changing the row, it may stay noted."""
        for _ in optimistic():
            row = self.table.get(*self._key(number))
            if row is None or span not in row.members:
                return
            if self.table.remove_members(*self._key(number), {span}, row.version):
                return

    def _key(self, number: int) -> tuple[str, str]:
        return self.partition, f"try#{self.generation:x}#{number:012x}"
