"""Threads that requests share: who waits holds none, and large ones leave some to others."""

import threading
from queue import SimpleQueue

import pytest

from ndlambda.errors import ServerBusyError
from ndlambda.local.host.workers import Workers

TIMEOUT_S = 30


@pytest.fixture
def free():
    """An event that the blocking tasks of a test wait for; set at its end at the latest."""
    event = threading.Event()
    yield event
    event.set()


def test_no_more_tasks_run_at_once_than_there_are_threads(free):
    workers, begun, done = Workers(2, "t"), SimpleQueue(), SimpleQueue()

    def task() -> None:
        begun.put(None)
        assert free.wait(TIMEOUT_S)
        done.put(begun.qsize())

    for _ in range(5):
        workers.submit(task)
    begun.get(timeout=TIMEOUT_S), begun.get(timeout=TIMEOUT_S)
    assert begun.empty()
    free.set()
    assert max(done.get(timeout=TIMEOUT_S) for _ in range(5)) <= 3


def test_tasks_that_woke_one_thread_together_run_at_once():
    """Seen to fail: the second waited for the end of the first, though a thread was free."""
    workers, met = Workers(2, "t"), threading.Barrier(3)
    with workers._lock:
        workers._tasks.extend([lambda: met.wait(TIMEOUT_S)] * 2)
        workers._wake()
    met.wait(TIMEOUT_S)


def test_a_task_that_waits_lets_another_run(free):
    workers, order = Workers(1, "t"), SimpleQueue()

    def waits() -> None:
        with workers.waiting():
            order.put("waits")
            assert free.wait(TIMEOUT_S)
        order.put("goes on")

    workers.submit(waits)
    workers.submit(lambda: order.put("another"))
    assert [order.get(timeout=TIMEOUT_S) for _ in range(2)] == ["waits", "another"]
    free.set()
    assert order.get(timeout=TIMEOUT_S) == "goes on"
    workers.submit(lambda: order.put("after"))
    assert order.get(timeout=TIMEOUT_S) == "after"


def test_only_so_many_wait(free):
    workers, told = Workers(1, "t", max_waiting=1), SimpleQueue()

    def waits() -> None:
        try:
            with workers.waiting():
                told.put("waits")
                free.wait(TIMEOUT_S)
        except ServerBusyError:
            told.put("refused")

    workers.submit(waits)
    workers.submit(waits)
    assert [told.get(timeout=TIMEOUT_S) for _ in range(2)] == ["waits", "refused"]


def test_large_tasks_leave_threads_to_small_ones(free):
    workers, told = Workers(2, "t"), SimpleQueue()

    def large() -> None:
        workers.enter_large(TIMEOUT_S)
        workers.enter_large(TIMEOUT_S)  # it is counted once
        told.put("large")
        free.wait(TIMEOUT_S)

    workers.submit(large)
    assert told.get(timeout=TIMEOUT_S) == "large"
    workers.submit(large)
    workers.submit(lambda: told.put("small"))
    assert told.get(timeout=TIMEOUT_S) == "small"
    free.set()
    assert told.get(timeout=TIMEOUT_S) == "large"


def test_a_large_task_does_not_wait_for_ever(free):
    workers, told = Workers(1, "t"), SimpleQueue()

    def large(max_wait_s: float) -> None:
        try:
            workers.enter_large(max_wait_s)
            told.put("large")
            with workers.waiting():
                free.wait(TIMEOUT_S)
        except ServerBusyError:
            told.put("refused")

    workers.submit(lambda: large(TIMEOUT_S))
    workers.submit(lambda: large(0))
    assert [told.get(timeout=TIMEOUT_S) for _ in range(2)] == ["large", "refused"]


def test_threads_of_others_are_let_through():
    workers = Workers(1, "t", max_waiting=0)
    workers.enter_large(0)
    with workers.waiting():
        pass


def test_a_task_that_fails_does_not_take_its_thread_along():
    workers, told = Workers(1, "t"), SimpleQueue()
    workers.submit(lambda: 1 // 0)
    workers.submit(lambda: told.put("next"))
    assert told.get(timeout=TIMEOUT_S) == "next"
