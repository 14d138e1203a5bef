import threading
from contextlib import contextmanager

import pytest

from ndlambda.errors import PayloadTooLargeError, ServerBusyError
from ndlambda.services.support.budget import ByteBudget, MemoryAwaited


def test_work_over_the_whole_budget_is_refused_and_impatience_is_a_busy_server():
    budget = ByteBudget(10, max_wait_s=0)
    with pytest.raises(PayloadTooLargeError), budget.hold(11):
        pass
    with budget.hold(8), pytest.raises(ServerBusyError), budget.hold(5):
        pass


def test_work_waits_until_bytes_are_freed():
    budget = ByteBudget(10, max_wait_s=30)
    held, order = threading.Event(), []

    def first():
        with budget.hold(8):
            held.set()
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    held.wait()
    with budget.hold(5):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_work_that_grows_gives_all_back_at_its_end():
    budget = ByteBudget(10, max_wait_s=0)
    with budget.hold_growing() as take:
        take(4)
        take(5)
        with pytest.raises(ServerBusyError), budget.hold(2):
            pass
    with budget.hold(10):
        pass


def test_work_that_outgrows_the_budget_is_refused_and_does_not_wait_for_itself():
    with ByteBudget(10, max_wait_s=60).hold_growing() as take:
        take(8)
        with pytest.raises(PayloadTooLargeError):
            take(3)


def test_large_work_leaves_room_for_small_work():
    """A sixteenth of the limit; what alone is larger than the rest is done all the same."""
    budget = ByteBudget(1 << 20, max_wait_s=0)
    with budget.hold(1 << 19):
        with pytest.raises(ServerBusyError), budget.hold(1 << 19):
            pass
        with budget.hold((1 << 19) - (1 << 16)), budget.hold(1 << 12), budget.hold(1 << 12):
            pass
    with budget.hold(1 << 20):
        pass


def test_a_judgement_neither_waits_nor_passes_what_is_too_large():
    budget = ByteBudget(10)
    with budget.hold(8), budget.impatient():
        with budget.hold(2), pytest.raises(MemoryAwaited), budget.hold(1):
            pass
        with pytest.raises(PayloadTooLargeError), budget.hold(11):
            pass


def test_the_gate_hears_of_work_that_is_large_or_waits():
    class Gate:
        heard: list[str] = []  # noqa: RUF012 - one gate

        def enter_large(self, max_wait_s):
            self.heard.append("large")

        @contextmanager
        def waiting(self):
            self.heard.append("waits")
            yield

    budget = ByteBudget(1024, max_wait_s=0)
    budget.gate = gate = Gate()
    with budget.hold(4):
        assert gate.heard == []
        with pytest.raises(ServerBusyError), budget.hold(1024):
            pass
    assert gate.heard == ["large", "waits"]
