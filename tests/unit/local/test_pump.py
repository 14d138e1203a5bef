import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from functions import ingest_build, s3_drop
from ndlambda.local import pump as pump_module
from ndlambda.local.pump import Pump, pump_once
from ndlambda.stores.ports import Message


class Queue:
    """Gives one batch, and tells when it is asked and what was acknowledged."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.asked = threading.Event()
        self.acknowledged: list[str] = []

    def receive(self, limit=10, visibility_s=60):
        taken, self.messages = self.messages, []
        self.asked.set()
        return taken

    def ack(self, receipts):
        self.acknowledged += receipts


@contextmanager
def running(pump):
    pump.start()
    try:
        yield
    finally:
        pump.stop()


QUEUES = ("erase", "propagate", "drop", "ingest")


def world(**parts):
    """Give a runtime of stand-ins that have nothing to do."""
    idle = {
        "settings": SimpleNamespace(store="aws", data=Path("nowhere")),
        "ingest": SimpleNamespace(
            drop=SimpleNamespace(sweep=lambda: 0),
            fetcher=SimpleNamespace(sweep=lambda: 0),
            jobs=SimpleNamespace(sweeper=SimpleNamespace(sweep_all=lambda: 0)),
        ),
    }
    queues = {name: parts.pop(f"{name}_queue", Queue()) for name in QUEUES}
    resources = SimpleNamespace(
        queues=SimpleNamespace(**queues), objects=parts.pop("objects", None)
    )
    return SimpleNamespace(**{**idle, **parts}, resources=resources)


def test_failed_messages_are_not_acknowledged():
    queue = Queue(Message("a", "receipt-a", "{}", 1), Message("b", "receipt-b", "{}", 2))
    events = []

    def handler(event, context):
        events.append(event)
        return {"batchItemFailures": [{"itemIdentifier": "a"}]}

    assert pump_once(queue, handler) == 2
    assert queue.acknowledged == ["receipt-b"]
    record = events[0]["Records"][1]
    assert (record["messageId"], record["body"]) == ("b", "{}")
    assert record["attributes"]["ApproximateReceiveCount"] == "2"


def test_the_pump_outlives_any_fault():
    """Seen to fail when only errors of our own tree were caught: the thread ended."""

    def resend_pending():
        message = "a fault that nobody thought of"
        raise RuntimeError(message)

    queue, building = Queue(), Queue()
    service = SimpleNamespace(resend_pending=resend_pending)
    pump = Pump(
        world(deletion=service, propagation=service, erase_queue=queue, propagate_queue=building)
    )
    with running(pump):
        assert queue.asked.wait(30)
        assert building.asked.wait(30)


def test_a_sweep_that_fails_does_not_keep_the_others():
    """Seen to fail when all were one piece of work: a folder closed to us ended all sweeps."""
    swept = threading.Event()

    def sweep():
        message = "a folder that cannot be read"
        raise OSError(message)

    service = SimpleNamespace(resend_pending=sweep)
    sweeper = SimpleNamespace(sweep_all=swept.set)
    pump = Pump(
        world(
            deletion=service,
            propagation=service,
            ingest=SimpleNamespace(
                drop=SimpleNamespace(sweep=sweep),
                fetcher=SimpleNamespace(sweep=sweep),
                jobs=SimpleNamespace(sweeper=sweeper),
            ),
        )
    )
    with running(pump):
        assert swept.wait(30)


def test_who_has_worked_wakes_the_others(monkeypatch: pytest.MonkeyPatch):
    """Seen to fail where each waits for its own time: nobody is asked twice in ten minutes."""
    monkeypatch.setattr(pump_module, "_IDLE_S", 600)
    drop, ingest, built = Queue(), Queue(), threading.Event()

    def notice(event, context):
        assert ingest.asked.wait(30)  # woken by the schedule, too, and found nothing
        ingest.messages.append(Message("chunk", "receipt", "{}", 1))
        return {}

    def build(event, context):
        built.set()
        return {}

    def resend_pending():
        assert drop.asked.wait(30)
        assert ingest.asked.wait(30)
        ingest.asked.clear()
        drop.messages.append(Message("slice", "receipt", "{}", 1))
        return 1

    monkeypatch.setattr(s3_drop, "handler", notice)
    monkeypatch.setattr(ingest_build, "handler", build)
    service = SimpleNamespace(resend_pending=resend_pending)
    idle = SimpleNamespace(resend_pending=lambda: 0)
    pump = Pump(
        world(deletion=service, propagation=idle, drop_queue=drop, ingest_queue=ingest), builders=1
    )
    with running(pump):
        assert built.wait(30)


def test_what_comes_while_a_worker_looks_does_not_lie_until_its_time(
    monkeypatch: pytest.MonkeyPatch,
):
    """Seen to fail where a worker that found nothing waits, whatever was done meanwhile."""
    monkeypatch.setattr(pump_module, "_IDLE_S", 600)
    told, built = threading.Event(), threading.Event()

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

    def build(event, context):
        built.set()
        return {}

    monkeypatch.setattr(s3_drop, "handler", notice)
    monkeypatch.setattr(ingest_build, "handler", build)
    # The schedule tells everybody, too: not before the end.
    service = SimpleNamespace(resend_pending=lambda: built.wait(30))
    pump = Pump(
        world(deletion=service, propagation=service, drop_queue=drop, ingest_queue=ingest),
        builders=1,
    )
    with running(pump):
        assert built.wait(30)


def test_builders_take_one_message_each_and_hide_it_for_long():
    """A task may take minutes; its neighbours in a batch would be delivered again meanwhile."""
    taken = []

    class Building(Queue):
        def receive(self, limit=10, visibility_s=60):
            taken.append((limit, visibility_s))
            return super().receive()

    building = Building()
    service = SimpleNamespace(resend_pending=lambda: 0)
    pump = Pump(
        world(deletion=service, propagation=service, propagate_queue=building),
        builders=1,
    )
    with running(pump):
        assert building.asked.wait(30)
    assert taken[0] == (1, 900)


def test_files_that_have_expired_are_deleted_while_the_pump_runs(tmp_path, monkeypatch):
    swept = threading.Event()
    counts = iter([2, 0])

    def sweep(self):
        count = next(counts)
        if not count:
            swept.set()
        return count

    monkeypatch.setattr(pump_module.Expiry, "sweep", sweep)
    disk = SimpleNamespace(store="disk", data=tmp_path)
    idle = SimpleNamespace(resend_pending=lambda: 0)
    parts = {"settings": disk, "objects": None, "deletion": idle, "propagation": idle}
    pump = Pump(world(**parts), builders=1)
    with running(pump):
        assert swept.wait(10), "one that found something looks again at once"


def test_a_thread_that_hangs_does_not_keep_the_server_from_ending(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Seen to fail where threads are waited for without a deadline: SIGTERM had no effect."""
    monkeypatch.setattr(pump_module, "_STOP_S", 0.0)
    hanging, end = threading.Event(), threading.Event()

    def sweep() -> int:
        hanging.set()
        end.wait(30)
        return 0

    service = SimpleNamespace(resend_pending=sweep)
    with running(Pump(world(deletion=service, propagation=service), builders=1)):
        assert hanging.wait(30)
    assert "pump-resend did not end" in caplog.text
    end.set()
