"""The time by which a request or a run of a worker must end.

A host (``functions``, the server on one machine) makes a ``Deadline`` and carries it through a call
with ``running``; the threads of a ``Threads`` that work for the call take it along. Every request
to a store asks ``check`` first, so each loop over stores stops between two of its steps, where a
crash would be harmless, too; pauses and waits are cut to what is left. Nothing is passed by hand,
so a new loop or a new wait is not forgotten.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self, TypeVar

from ndlambda.errors import DeadlineExceededError

GRACE_S: Final = 0.5
"""How long a call may take to notice that its time is up."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time.

    Attributes
    ----------
    ends_s
        In seconds of ``clock``.
    clock
        Monotonic seconds.
    """

    ends_s: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Self:
        """Return the deadline that is some seconds away."""
        return cls(clock() + seconds, clock)

    @property
    def remaining_s(self) -> float:
        """Seconds that are left; 0 when it has passed."""
        return max(0.0, self.ends_s - self.clock())

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make this the deadline of the calls in the block, unless an earlier one holds already."""
        outer = current()
        token = _current.set(self if outer is None or self.ends_s < outer.ends_s else outer)
        try:
            yield
        finally:
            _current.reset(token)


@contextmanager
def written_down(grace_s: float = 2.0) -> Iterator[None]:
    """Replace the deadline in the block by a short one, in which to record progress."""
    token = _current.set(None if _current.get() is None else Deadline.after(grace_s))
    try:
        yield
    finally:
        _current.reset(token)


_current: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def current() -> Deadline | None:
    """Return the deadline of the running call, None if it has all the time it needs."""
    return _current.get()


def check() -> None:
    """Stop the running call if its time is up.

    Raises
    ------
    DeadlineExceededError
    """
    deadline = _current.get()
    if deadline is not None and deadline.clock() >= deadline.ends_s:
        raise DeadlineExceededError


def at_most(seconds: float) -> float:
    """Return how long the running call may wait: these seconds, or what is left of its time."""
    deadline = _current.get()
    return seconds if deadline is None else min(seconds, deadline.remaining_s)


class Threads(ThreadPoolExecutor):
    """A pool whose threads work under the deadline of the call that submitted the task."""

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> "Future[_Result]":
        """Schedule a call."""
        return super().submit(_carried(partial(fn, *args, **kwargs)))


def _carried(task: Callable[[], _Result]) -> Callable[[], _Result]:
    deadline = _current.get()
    if deadline is None:
        return task

    def run() -> _Result:
        with deadline.running():
            return task()

    return run


def finish_in_time(call: Callable[[], _Result], grace_s: float = GRACE_S) -> _Result:
    """Return the result of a call, or leave it alone once its deadline has passed.

    The call runs in a thread of its own. One that hangs in a store that never answers is left to
    itself; whatever it does later is what a slow or repeated request does.

    Parameters
    ----------
    grace_s
        Seconds after the deadline in which the call may end by itself.

    Raises
    ------
    DeadlineExceededError
        It did not end.
    """
    deadline = _current.get()
    if deadline is None:
        return call()
    ended = threading.Event()
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(carried_call())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            failure.append(error)
        finally:
            ended.set()

    carried_call = _carried(call)
    threading.Thread(target=run, name="within-deadline", daemon=True).start()
    if not ended.wait(deadline.remaining_s + grace_s):
        raise DeadlineExceededError
    if failure:
        raise failure[0]
    result: _Result = outcome[0]
    return result
