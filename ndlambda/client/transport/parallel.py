"""A thread pool that reads its work lazily and never runs far ahead."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def bounded_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, threads: int
) -> Iterator[Result]:
    """Run a function over items in threads and give results as they come, in any order.

    At most ``2 * threads`` items are taken but not finished, so items that hold memory (slabs of
    a stack) are made only when there is room. The first failure stops the taking of items, waits
    for what is under way and is raised.
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
