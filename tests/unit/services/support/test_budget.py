import threading

import pytest

from ndlambda.errors import PayloadTooLargeError, ServerBusyError
from ndlambda.services.support.budget import ByteBudget


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
