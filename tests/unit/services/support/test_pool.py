"""Tasks of one call among those of others."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from ndlambda.services.support.pool import MAX_IN_FLIGHT, run_all


class Counting(ThreadPoolExecutor):
    """Counts the tasks that are queued or running."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.lock = threading.Lock()
        self.now = self.most = self.submitted = 0

    def submit(self, task, /, *args, **kwargs):
        with self.lock:
            self.submitted += 1
            self.now += 1
            self.most = max(self.most, self.now)
        future = super().submit(task, *args, **kwargs)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _future) -> None:
        with self.lock:
            self.now -= 1


@pytest.fixture
def pool() -> Iterator[Counting]:
    with Counting(2) as executor:
        yield executor


def test_results_come_in_the_order_of_the_tasks_of_which_few_are_queued_at_a_time(pool):
    """Seen to fail when all are submitted at once: 500 are queued before any call that follows."""
    assert run_all(pool, (partial(int, number) for number in range(500))) == list(range(500))
    assert (pool.submitted, pool.most <= MAX_IN_FLIGHT) == (500, True)


def test_an_error_ends_the_call_when_no_task_runs_any_more(pool):
    """Seen to fail without the wait: the call ends while a task still runs."""
    release, ended = threading.Event(), threading.Event()

    def fail() -> None:
        threading.Timer(0.05, release.set).start()
        raise KeyError

    def slow() -> None:
        release.wait(10)
        ended.set()

    with pytest.raises(KeyError):
        run_all(pool, [fail, slow, *[lambda: None] * 1000])
    assert ended.is_set()
    assert pool.submitted < 1000


def test_an_error_of_the_iterator_of_tasks_is_raised(pool):
    def tasks():
        yield lambda: None
        raise KeyError

    with pytest.raises(KeyError):
        run_all(pool, tasks())


def test_a_task_that_is_alone_is_done_by_the_caller(pool):
    """So a small call pays for no hand-over and does not wait behind the tasks of others."""
    assert run_all(pool, [threading.get_ident]) == [threading.get_ident()]
    assert pool.submitted == 0
