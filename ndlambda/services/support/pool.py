"""Runs the tasks of one call in a thread pool that all calls share."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, wait
from itertools import chain, islice
from typing import TypeVar

MAX_IN_FLIGHT = 64
"""Maximum number of tasks of one call in the pool's queue, so that a small call need not wait for
all of a large one, and very many tasks are not held in memory at once."""

_Result = TypeVar("_Result")


def run_all(executor: Executor, tasks: Iterable[Callable[[], _Result]]) -> list[_Result]:
    """Run tasks and return their results in order; a single task runs in the calling thread.

    The first error is raised after running tasks have ended; tasks not begun are cancelled. Must
    not be called from a thread of the pool: it could wait for itself.
    """
    tasks = iter(tasks)
    first = tuple(islice(tasks, 2))
    if len(first) == 1:
        return [first[0]()]
    done: list[_Result] = []
    pending: deque[Future[_Result]] = deque()
    try:
        for task in chain(first, tasks):
            if len(pending) == MAX_IN_FLIGHT:
                done.append(pending.popleft().result())
            pending.append(executor.submit(task))
        while pending:
            done.append(pending.popleft().result())
    finally:
        wait([future for future in pending if not future.cancel()])
    return done
