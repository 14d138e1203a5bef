"""Starting threads at the same moment."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

T = TypeVar("T")


def run_together(count: int, work: Callable[[int], T]) -> list[T]:
    """Call ``work(0)`` to ``work(count - 1)``, each in a thread, all released at once.

    Returns the results in order; the first exception of a thread is raised here.
    """
    barrier = Barrier(count, timeout=30)

    def released(index: int) -> T:
        barrier.wait()
        return work(index)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(released, range(count)))
