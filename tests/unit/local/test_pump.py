import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from functions import ingest_build, s3_drop
from ndlambda.local import pump as pump_module
from ndlambda.local.pump import Pump, pump_once
from ndlambda.services.support.watch import MAX_PAUSE_S
from ndlambda.settings import Settings
from ndlambda.stores.ports import Message


class Queue:
    """Gives one batch, and tells when it is asked and what was acknowledged."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.asked = threading.Event()
        self.acknowledged: list[str] = []
        self.delayed: list[tuple[str, int]] = []

    def receive(self, limit=10, visibility_s=60):
        taken, self.messages = self.messages, []
        self.asked.set()
        return taken

    def ack(self, receipts):
        self.acknowledged += receipts

    def retry_later(self, receipt, delay_s):
        self.delayed.append((receipt, delay_s))


@contextmanager
def running(pump):
    pump.start()
    try:
        yield
    finally:
        pump.stop()


QUEUES = ("erase", "propagate", "drop", "ingest")


def pump_of(*sweeps, builders=1, objects=None, **parts):
    """Return a pump of stand-ins that have nothing to do, but those that are given."""
    queues = {name: parts.pop(f"{name}_queue", Queue()) for name in QUEUES}
    resources = SimpleNamespace(queues=SimpleNamespace(**queues), objects=objects)
    settings = Settings(store="aws", data=Path("nowhere"))
    idle = {"settings": settings, "resources": resources}
    idle |= {"sweeps": lambda: dict(enumerate(sweeps))}
    return Pump(SimpleNamespace(**{**idle, **parts}), builders=builders)


def raising(error):
    def fail():
        raise error

    return fail


def test_failed_messages_are_not_acknowledged():
    queue = Queue(Message("a", "receipt-a", "{}", 1), Message("b", "receipt-b", "{}", 2))
    events = []

    def handler(event, context):
        events.append(event)
        return {"batchItemFailures": [{"itemIdentifier": "a"}]}

    assert pump_once(queue, handler) == 2
    assert queue.acknowledged == ["receipt-b"]
    assert queue.delayed == [("receipt-a", 5)]
    record = events[0]["Records"][1]
    assert (record["messageId"], record["body"]) == ("b", "{}")
    assert record["attributes"]["ApproximateReceiveCount"] == "2"


def test_messages_of_a_handler_that_raises_come_back_after_growing_pauses():
    messages = [Message(f"{n}", f"receipt-{n}", "{}", n) for n in (1, 2, 3, 4)]
    queue = Queue(*messages)
    assert pump_once(queue, lambda event, context: raising(KeyError("x"))()) == 4
    assert queue.acknowledged == []
    assert queue.delayed == [
        ("receipt-1", 5), ("receipt-2", 10), ("receipt-3", 20), ("receipt-4", 40)
    ]  # fmt: skip
    assert sum(delay for _, delay in queue.delayed) < 120, "then the fifth try is the last"


def test_the_pump_outlives_any_fault():
    """Seen to fail when only errors of our own tree were caught: the thread ended."""
    queue, building = Queue(), Queue()
    broken = raising(RuntimeError("a fault that nobody thought of"))
    queues = {"erase_queue": queue, "propagate_queue": building}
    with running(pump_of(broken, broken, **queues)):
        assert queue.asked.wait(30)
        assert building.asked.wait(30)


def test_a_sweep_that_fails_does_not_keep_the_others():
    """Seen to fail when all were one piece of work: a folder closed to us ended all sweeps."""
    swept = threading.Event()
    sweep = raising(OSError("a folder that cannot be read"))
    with running(pump_of(sweep, sweep, swept.set)):
        assert swept.wait(30)


@pytest.fixture
def built(monkeypatch):
    """An event that is set when a chunk is built."""
    event = threading.Event()
    monkeypatch.setattr(ingest_build, "handler", lambda *_: event.set() or {})
    monkeypatch.setattr(pump_module, "_IDLE_S", 600)
    return event


def test_who_has_worked_wakes_the_others(monkeypatch, built):
    """Seen to fail where each waits for its own time: nobody is asked twice in ten minutes."""
    drop, ingest = Queue(), Queue()

    def notice(event, context):
        assert ingest.asked.wait(30)  # woken by the schedule, too, and found nothing
        ingest.messages.append(Message("chunk", "receipt", "{}", 1))
        return {}

    def sweep():
        assert drop.asked.wait(30)
        assert ingest.asked.wait(30)
        ingest.asked.clear()
        drop.messages.append(Message("slice", "receipt", "{}", 1))
        return 1

    monkeypatch.setattr(s3_drop, "handler", notice)
    with running(pump_of(sweep, drop_queue=drop, ingest_queue=ingest)):
        assert built.wait(30)


def test_what_comes_while_a_worker_looks_does_not_lie_until_its_time(monkeypatch, built):
    """Seen to fail where a worker that found nothing waits, whatever was done meanwhile."""
    told = threading.Event()

    class Slow(Queue):
        def receive(self, limit=10, visibility_s=60):
            taken = super().receive()
            assert told.wait(30)
            return taken

    class Telling(Queue):
        def receive(self, limit=10, visibility_s=60):
            taken = super().receive()
            if not taken:  # so all were told of the one before
                told.set()
            return taken

    ingest, drop = Slow(), Telling(Message("slice", "receipt", "{}", 1))

    def notice(event, context):
        assert ingest.asked.wait(30)
        ingest.messages.append(Message("chunk", "receipt", "{}", 1))
        return {}

    monkeypatch.setattr(s3_drop, "handler", notice)
    # The schedule tells everybody, too: not before the end.
    late = partial(built.wait, 30)
    queues = {"drop_queue": drop, "ingest_queue": ingest}
    with running(pump_of(late, late, **queues)):
        assert built.wait(30)


def test_builders_take_one_message_each_and_hide_it_for_long():
    """Its neighbours in a batch would be delivered again while a task takes minutes."""
    taken = []

    class Building(Queue):
        def receive(self, limit=10, visibility_s=60):
            taken.append((limit, visibility_s))
            return super().receive()

    building = Building()
    with running(pump_of(propagate_queue=building)):
        assert building.asked.wait(30)
    assert taken[0] == (1, Settings.deadline_s + 60)


def test_files_that_have_expired_are_deleted_while_the_pump_runs(tmp_path, monkeypatch):
    swept, counts = threading.Event(), iter([2, 0])
    monkeypatch.setattr(pump_module.Expiry, "sweep", lambda _: next(counts, None) or swept.set())
    with running(pump_of(settings=Settings(data=tmp_path))):
        assert swept.wait(10), "one that found something looks again at once"


def test_a_thread_that_hangs_does_not_keep_the_server_from_ending(monkeypatch):
    """Seen to fail where threads are waited for without a deadline: SIGTERM had no effect."""
    hanging, end, logged = threading.Event(), threading.Event(), []
    monkeypatch.setattr(pump_module._log, "warning", lambda text, *of: logged.append(text % of))

    def sweep() -> int:
        hanging.set()
        end.wait(30)
        return 0

    pump = pump_of(sweep, sweep)
    pump.start()
    assert hanging.wait(30)
    pump.stop(0.0)
    assert "pump-sweep did not end within 0 s" in logged
    end.set()


def test_what_a_lost_queue_kept_from_being_overdue_is_swept_soon_after_the_start():
    """Seen to wait for a day: at the start no chain is overdue whose message was just lost."""
    waits: list[float] = []

    class Stopping:
        def is_set(self):
            return len(waits) == 2

        def wait(self, seconds):
            waits.append(seconds)

    pump = pump_of()
    pump._stopping = Stopping()
    pump._sweep()
    assert MAX_PAUSE_S < waits[0] < 2 * MAX_PAUSE_S
    assert waits[1] == 86_400
