"""Counts attempts on a chunk that did not finish: killed, timed out, or out of memory.

A redelivered message, or a message for a job without progress, means that an earlier attempt did
not finish. An attempt is recorded when it begins, since a killed worker cannot report anything, and
its record is removed when it ends in any way.

Messages are duplicated, and a stalled queue delivers many messages for one chunk at once. So the
minute is recorded: all attempts that begin in the same minute count as one.

Row: sk ``try#GENERATION#CHUNK``, members: the minutes; counter ``failures``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from ndlambda.errors import InvalidStateError, NDLambdaError
from ndlambda.services.support.retry import optimistic
from ndlambda.services.support.tries import MAX_TRIES, reason_of, why_unfinished
from ndlambda.stores.ports import Table

MAX_FAILURES: Final = MAX_TRIES - 1
"""Attempts after the first that end with a bug of ours, after which a chunk is given up, or with a
failing store, after which the job is."""

MAX_ATTEMPTS: Final = 10
"""Unfinished attempts after which a chunk is given up.

On a laptop all running builds die with the server, so this is more than the number of times that a
user is likely to kill it.
"""

SPAN_S: Final = 60.0
"""Attempts that begin within one such span count as one.

A Lambda lives for at most 15 minutes and its message is sent again every two minutes, so attempts
still running cover fewer than ``MAX_ATTEMPTS`` spans.
"""


class AttemptsExhaustedError(InvalidStateError):
    """Another attempt on a chunk would fail like those before."""


class StoresFailedError(InvalidStateError):
    """Stores failed too many attempts on a chunk, which is not to blame."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts on a job's chunks since it was created or last retried.

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
    def track(self, number: int, attempt: int) -> Iterator[None]:
        """Record an attempt while it runs, and give up on a chunk that has failed too often.

        Parameters
        ----------
        attempt
            Number of this attempt, from 1; first attempts are not recorded.

        Raises
        ------
        AttemptsExhaustedError
            Too many attempts did not finish, or ended with an unexpected error.
        StoresFailedError
            Too many attempts ended with an error that a repetition may overcome.
        """
        if attempt == 1:
            yield
            return
        span = int(self.clock() // SPAN_S)
        begun = self.begin(number, span)
        if begun > MAX_ATTEMPTS:
            raise AttemptsExhaustedError(why_unfinished("it", begun))
        try:
            yield
        except Exception as error:
            self._end(number, span)
            if isinstance(error, NDLambdaError) and not error.retryable:
                raise
            if self.table.increment(*self._key(number), "failures") < MAX_FAILURES:
                raise
            if isinstance(error, NDLambdaError):
                raise StoresFailedError(error.message) from error
            raise AttemptsExhaustedError(reason_of(error)) from error
        self.reset(number)

    def begin(self, number: int, span: int) -> int:
        """Record an attempt; return the number of spans with unfinished attempts, this included."""
        self.table.add_members(*self._key(number), {span})
        row = self.table.get(*self._key(number))
        return 1 if row is None else len(row.members)

    def reset(self, number: int) -> None:
        """Reset the attempts on a chunk that was built, or given up."""
        self.table.delete(*self._key(number))

    def _end(self, number: int, span: int) -> None:
        """Remove the record of a finished attempt; under contention on the row it may stay."""
        for _ in optimistic():
            row = self.table.get(*self._key(number))
            if row is None or span not in row.members:
                return
            if self.table.remove_members(*self._key(number), {span}, row.version):
                return

    def _key(self, number: int) -> tuple[str, str]:
        return self.partition, f"try#{self.generation:x}#{number:012x}"
