"""A parallel map that takes its items lazily."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def bounded_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int
) -> Iterator[Result]:
    """Run a function over items in threads and yield results as they finish, in any order.

    At most ``2 * threads`` items are in progress, so that items that hold memory (slabs of a stack)
    are created only when needed. The first failure stops taking items, waits for those in progress
    and is raised.
    """
    source = iter(items)
    pending: set[Future[Result]] = set()
    with ThreadPoolExecutor(threads, thread_name_prefix="ndlambda-transfer") as pool:
        try:
            while True:
                for item in islice(source, 2 * threads - len(pending)):
                    pending.add(pool.submit(function, item))
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in pending:
                future.cancel()
