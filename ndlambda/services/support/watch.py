"""Watch chains: one delayed message at a time looks after each piece of open work.

Messages that wake workers may be lost, and workers may die. So the process that opens work also
sends a *watch message*, delayed, to the work's own queue. Its receiver looks after that work by one
bounded step (it re-enqueues what is overdue) and, while the work is open, moves the chain on: it
raises the generation in the chain's row, conditionally, and sends a message of that generation.
Nothing runs for work that nobody opened, and nothing for work that has ended.

========================================  ==========================================================
message of generation g, row              what its receiver does
========================================  ==========================================================
g (no row: g = 0)                         looks after the work; raises the row to g + 1; sends g + 1
g + 1, and it was delivered before        its receiver died between the change and the sending, or
                                          before it acknowledged: sends g + 1 again, changes nothing
any other                                 drops it
========================================  ==========================================================

So doubled deliveries never multiply chains: of several messages of one generation one wins the
change, and the others are dropped. A chain whose message was lost stands still; ``take_over`` and
``restart`` raise the generation, too, after which a late message of the old chain is dropped.

Rows: doc ``gen``, ``rests`` (looks in a row that found nothing to do), ``due`` (Unix seconds of the
next look). There is no row before the first look, so that opening work costs one message only.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ndlambda.backoff import longest_pause_s
from ndlambda.errors import PreconditionFailedError, WriteContentionError
from ndlambda.services.support.paging import Key
from ndlambda.services.support.retry import optimistic
from ndlambda.stores.ports import Queue, Row, Table

FIRST_LOOK_S: Final = 60.0
MAX_PAUSE_S: Final = 900.0
"""The longest delay of a message in SQS."""
MAX_RESTS: Final = 100
"""Looks in a row that find nothing to do, about a day, after which a chain stops."""

_MAX_LOOKS: Final = 2
"""Deliveries of one message that look after the work; after these its receivers died of it."""

_log = logging.getLogger("ndlambda.watch")


class Look(Enum):
    """What a look found."""

    MOVES = "moves"
    """The work moves, or was called for again: the next look is soon."""
    RESTS = "rests"
    """There is nothing to do: the next look is later than this one was."""
    ENDED = "ended"
    """The work is not open any more: nobody looks again."""


LookAfter = Callable[[str], Look]
"""Looks after the work of an id by one bounded, idempotent step."""


@dataclass(frozen=True, slots=True)
class WatchMessage:
    """A message that asks for a look after some work."""

    work: str
    generation: int

    @property
    def body(self) -> str:
        """The message as text."""
        return json.dumps({"v": 1, "watch": self.work, "gen": self.generation})

    @classmethod
    def find(cls, body: str) -> "WatchMessage | None":
        """Return the message of a text, None if that is a message of another kind."""
        try:
            message = json.loads(body)
        except ValueError:
            return None
        match message:
            case {"v": 1, "watch": str(work), "gen": int(generation)}:
                return cls(work, generation)
        return None


@dataclass(frozen=True, slots=True)
class Chains:
    """The chains of one kind of work.

    Attributes
    ----------
    table, queue
        Where the rows are; the queue of the work's own workers.
    key
        Returns the keys of a chain's row, in the partition of the work.
    clock
        Unix seconds.
    max_rests
        Looks that find nothing, after which a chain stops until it is restarted.
    """

    table: Table
    queue: Queue
    key: Callable[[str], Key]
    clock: Callable[[], float] = time.time
    max_rests: int = MAX_RESTS

    def start(self, works: Iterable[str]) -> None:
        """Begin the chains of new work.

        Called before the work is stored: a process that dies in between leaves a message that is
        dropped, never work without a chain.
        """
        bodies = [WatchMessage(work, 0).body for work in works]
        if bodies:
            self.queue.send(bodies, math.ceil(FIRST_LOOK_S))

    def restart(self, work: str, delay_s: float = FIRST_LOOK_S) -> None:
        """Begin a chain for work that may have one already, which is superseded.

        Raises
        ------
        WriteContentionError
            Others keep changing its row.
        """
        for _ in optimistic():
            row = self.table.get(*self.key(work))
            if row is None:
                self._send(work, 0, delay_s)
                return
            if self._move(work, row, 0, delay_s):
                return
        raise WriteContentionError(f"The watch chain of {work[:200]!r} keeps changing; try again.")

    def wake(self, work: str) -> None:
        """Make the next look soon where the pauses have grown."""
        row = self.table.get(*self.key(work))
        if row is not None and row.doc["rests"] > 0:
            self._move(work, row, 0, FIRST_LOOK_S)

    def ask(self, work: str) -> None:
        """Ask for a look at once; writes no row."""
        self._send(work, _generation(self.table.get(*self.key(work))), 0)

    def receive(self, message: WatchMessage, receive_count: int, look_after: LookAfter) -> None:
        """Handle a message, as the table above says.

        Parameters
        ----------
        receive_count
            The number of this delivery, from 1.
        """
        row = self.table.get(*self.key(message.work))
        if row is not None and receive_count > 1 and _generation(row) == message.generation + 1:
            self._send(message.work, _generation(row), row.doc["due"] - self.clock())
        elif _generation(row) == message.generation:
            self._turn(message.work, row, look_after if receive_count <= _MAX_LOOKS else _rest)

    def take_over(self, work: str, look_after: LookAfter) -> bool:
        """Look after work whose chain stands still or never began; return whether it did."""
        row = self.table.get(*self.key(work))
        if row is not None and not self._is_due(row):
            return False
        self._turn(work, row, look_after)
        return True

    def end(self, work: str) -> None:
        """Remove the row of a chain whose work is gone; its message will be dropped."""
        self.table.delete(*self.key(work))

    def _turn(self, work: str, row: Row | None, look_after: LookAfter) -> None:
        try:
            found = look_after(work)
        except Exception:  # noqa: BLE001 - the chain outlives what its looks run into
            _log.exception("the look after %s failed; it is repeated later", work)
            found = Look.RESTS
        if found is Look.ENDED:
            self._remove(row)
            return
        rests = 0 if found is Look.MOVES else 1 + (0 if row is None else row.doc["rests"])
        self._move(work, row, rests, longest_pause_s(rests, FIRST_LOOK_S, MAX_PAUSE_S))

    def _move(self, work: str, row: Row | None, rests: int, delay_s: float) -> bool:
        """Raise the generation and send a message of it; return whether no other did that."""
        generation = _generation(row) + 1
        doc = {"v": 1, "gen": generation, "rests": rests, "due": self.clock() + delay_s}
        try:
            self.table.put(Row(*self.key(work), doc=doc), "absent" if row is None else row.version)
        except PreconditionFailedError:
            return False
        if rests <= self.max_rests:
            self._send(work, generation, delay_s)
        return True

    def _remove(self, row: Row | None) -> None:
        if row is None:
            return
        try:
            self.table.delete(row.pk, row.sk, row.version)
        except PreconditionFailedError:
            return  # restarted meanwhile

    def _send(self, work: str, generation: int, delay_s: float) -> None:
        delay = math.ceil(min(max(delay_s, 0), MAX_PAUSE_S))
        self.queue.send([WatchMessage(work, generation).body], delay)

    def _is_due(self, row: Row) -> bool:
        return bool(self.clock() >= row.doc["due"])


def _generation(row: Row | None) -> int:
    return 0 if row is None else int(row.doc["gen"])


def _rest(_: str) -> Look:
    return Look.RESTS
