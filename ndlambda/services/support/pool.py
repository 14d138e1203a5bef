"""Tasks of one call in the threads that all calls share."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, wait
from itertools import chain, islice
from typing import TypeVar

MOST_IN_FLIGHT = 64
"""Tasks that one call has in the pool's queue, so that a small call is not behind all of a large
one, and a call of very many tasks does not hold them all."""

_Result = TypeVar("_Result")


def run_all(executor: Executor, tasks: Iterable[Callable[[], _Result]]) -> list[_Result]:
    """Do tasks and return their results in order; one that is alone is done by the caller itself.

    The first error is raised as soon as it is met; by then no task runs any more, and those not
    begun never will. Not to be called from a thread of the pool: it could wait for itself.
    """
    tasks = iter(tasks)
    first = tuple(islice(tasks, 2))
    if len(first) == 1:
        return [first[0]()]
    done: list[_Result] = []
    pending: deque[Future[_Result]] = deque()
    try:
        for task in chain(first, tasks):
            if len(pending) == MOST_IN_FLIGHT:
                done.append(pending.popleft().result())
            pending.append(executor.submit(task))
        while pending:
            done.append(pending.popleft().result())
    finally:
        wait([future for future in pending if not future.cancel()])
    return done
