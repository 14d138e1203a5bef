"""Crashes on purpose: a port whose user dies at its k-th operation.

``Faulty(port, plan)`` looks like the port. When the plan's operation comes, ``Crash`` is raised
before it is carried out or, as when the answer is lost, after; every later operation of the same
plan raises, too, because a dead process does nothing more (not even in a ``finally``). Several
ports may share one plan, so that operations are counted over all of them.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

from ndlambda.stores.ports import Action, Put, Row

World = TypeVar("World")


class Crash(BaseException):
    """The process died. No handler of errors may see it."""


@dataclass
class FaultPlan:
    """Counts operations and dies at the ``fail_at``-th (1 is the first; None never).

    ``log`` lists the operations that were begun, for messages of failing tests.
    """

    fail_at: int | None
    when: Literal["before", "after"] = "after"
    log: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def fired(self) -> bool:
        return self.fail_at is not None and len(self.log) >= self.fail_at

    def carry_out(self, name: str, operation: Callable[[], Any]) -> Any:
        with self._lock:
            self.log.append(name)
            number = len(self.log)
        if self.fail_at is None or number < self.fail_at:
            return operation()
        if number == self.fail_at and self.when == "after":
            operation()
        raise Crash(f"{self.when} operation {number}: {name}")


READS = frozenset(
    {"get", "batch_get", "query", "list", "whole_reads_are_cheap", "dead_letters", "room"}
)


class WriteFaultPlan(FaultPlan):
    """Counts writes alone, and dies after the ``fail_at``-th: what is left behind is always that.

    A process that dies while it reads, or before a write, leaves what it leaves that dies after the
    write before; so these plans, one a write, have seen every state that a death can leave.
    """

    def carry_out(self, name: str, operation: Callable[[], Any]) -> Any:
        if name.rpartition(".")[2] not in READS:
            return super().carry_out(name, operation)
        if self.fired:
            raise Crash(f"dead since operation {self.fail_at}: {name}")
        return operation()


class Faulty:
    """A port that carries out its operations under a plan (or a number: ``fail_at``)."""

    def __init__(self, port: Any, plan: FaultPlan | int) -> None:
        self._port = port
        self._plan = FaultPlan(plan) if isinstance(plan, int) else plan

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._port, name)
        if not callable(attribute):
            return attribute

        def operation(*args: Any, **kwargs: Any) -> Any:
            label = f"{type(self._port).__name__}.{name}"
            return self._plan.carry_out(label, lambda: attribute(*args, **kwargs))

        return operation


class Interrupted:
    """A plan under which something else happens before an operation; ``outcome`` is its result."""

    def __init__(self, at: int, interruption: Callable[[], object]) -> None:
        self._at = at
        self._interruption = interruption
        self.fired = False
        self.outcome: object = None
        self.log: list[str] = []

    def interrupt(self) -> None:
        self.fired = True
        self.outcome = self._interruption()

    def carry_out(self, name: str, operation: Callable[[], Any]) -> Any:
        self.log.append(name)
        if len(self.log) == self._at:
            self.interrupt()
        return operation()


def overtaken(
    worlds: Iterable[World], meanwhile: Callable[[World], object], least: int = 3
) -> Iterator[tuple[World, Any]]:
    """Iterate over worlds and plans under which ``meanwhile`` happens before the n-th operation.

    Ends behind the first whose plan did not fire; there must have been ``least`` of them.
    """
    for number, world in enumerate(worlds, 1):
        plan = Interrupted(number, partial(meanwhile, world))
        yield world, plan
        if not plan.fired:
            assert number >= least
            return


class Wrapped:
    """A port of which some methods are other functions, which are given the real one first."""

    def __init__(self, port: Any, **methods: Callable[..., Any]) -> None:
        self._port = port
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._port, name)
        return partial(self._methods[name], real) if name in self._methods else real


class Watched:
    """A table that counts the rows of an end that really were put."""

    def __init__(self, table: Any, is_end: Callable[[Row], bool]) -> None:
        self._table = table
        self._is_end = is_end
        self.ends = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def transact(self, actions: Sequence[Action]) -> None:
        self._table.transact(actions)
        self.ends += sum(isinstance(each, Put) and self._is_end(each.row) for each in actions)
