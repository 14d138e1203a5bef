import threading
from collections.abc import Iterator
from inspect import getmembers, isfunction
from typing import Any

import pytest

from ndlambda import deadline
from ndlambda.deadline import Deadline, Threads, finish_in_time
from ndlambda.errors import DeadlineExceededError, WriteContentionError
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.support.retry import optimistic
from ndlambda.stores.aws.retry import StoreRetryPolicy
from ndlambda.stores.ports import ObjectStore, Queue, Table
from ndlambda.stores.process import Ports
from ndlambda.stores.timed import timed, timed_ports

PORTS = [
    (port, name)
    for port in (ObjectStore, Table, Queue)
    for name, _ in getmembers(port, isfunction)
    if not name.startswith("_")
]


def passed() -> Deadline:
    return Deadline(1.0, lambda: 2.0)


class Store:
    """Counts its calls, whatever they are."""

    whole_reads_are_cheap = True

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*_: object) -> Iterator[int]:
            self.calls.append(name)
            return iter(range(3))

        return call


def test_without_a_deadline_there_is_all_the_time():
    deadline.check()
    assert deadline.current() is None
    assert deadline.at_most(7) == 7


def test_a_deadline_holds_in_its_block_only():
    with passed().running():
        assert deadline.at_most(7) == 0
        with pytest.raises(DeadlineExceededError):
            deadline.check()
    deadline.check()


def test_the_earlier_of_two_deadlines_holds():
    late, early = Deadline(9.0, lambda: 2.0), Deadline(5.0, lambda: 2.0)
    for outer, inner in ((late, early), (early, late)):
        with outer.running(), inner.running():
            assert deadline.at_most(100) == 3


def test_threads_work_under_the_deadline_of_the_caller():
    with Threads(1) as pool:
        with passed().running():
            asked = pool.submit(deadline.at_most, 7), *pool.map(deadline.at_most, (7,))
        after = pool.submit(deadline.at_most, 7)
        assert (asked[0].result(), asked[1], after.result()) == (0, 0, 7)


@pytest.mark.parametrize(("port", "name"), PORTS)
def test_no_request_reaches_a_store_when_the_time_is_up(port, name):
    store = Store()
    request = getattr(timed(store), name)
    list(request("key"))
    assert store.calls == [name]
    with passed().running(), pytest.raises(DeadlineExceededError):
        list(request("key"))
    assert store.calls == [name]


def test_every_port_of_a_runtime_is_timed():
    def send(store: Any) -> None:
        with passed().running(), pytest.raises(DeadlineExceededError):
            store.get("key")

    ports = timed_ports(Ports(Store(), Store(), Store(), lambda _: Store()))
    for store in (ports.objects, ports.dropped, ports.table, ports.open_queue("q")):
        assert store.whole_reads_are_cheap
        send(store)


def test_a_long_listing_stops_in_the_middle():
    now = [0.0]
    with Deadline(1.0, lambda: now[0]).running():
        listing = iter(timed(Store()).list("prefix"))
        assert next(listing) == 0
        now[0] = 2.0
        with pytest.raises(DeadlineExceededError):
            next(listing)


def test_retries_end_and_pauses_are_cut():
    now, paused = [0.0], []

    def sleep(seconds: float) -> None:
        paused.append(seconds)
        now[0] += seconds

    policy = StoreRetryPolicy(base_s=8, cap_s=8, sleep=sleep, random=lambda: 1.0)
    with Deadline(9.5, lambda: now[0]).running():
        policy.pause(0)
        with pytest.raises(DeadlineExceededError):
            policy.pause(1)
        assert paused == [8, 1.5]
        with pytest.raises(DeadlineExceededError):
            list(optimistic(sleep=sleep, random=lambda: 1.0))
    assert paused == [8, 1.5, 0]


def test_memory_is_waited_for_no_longer_than_the_request_lasts():
    budget = ByteBudget(10, max_wait_s=3600)
    with budget.hold(10), passed().running(), pytest.raises(Exception, match="busy"):
        budget.hold(1).__enter__()


def test_a_call_that_hangs_is_left_alone():
    released = threading.Event()
    with passed().running(), pytest.raises(DeadlineExceededError):
        finish_in_time(released.wait, grace_s=0)
    released.set()


def test_a_call_in_time_gives_its_result_or_error():
    with Deadline.after(3600).running():
        assert finish_in_time(lambda: 5) == 5
        with pytest.raises(WriteContentionError, match="busy"):
            finish_in_time(_contended)
        with pytest.raises(KeyboardInterrupt):
            finish_in_time(_interrupted)
    assert finish_in_time(threading.current_thread) is threading.current_thread()


def _contended() -> None:
    raise WriteContentionError("busy")


def _interrupted() -> None:
    raise KeyboardInterrupt
