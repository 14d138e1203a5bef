import threading
from pathlib import Path
from types import SimpleNamespace

from ndlambda.local.pump import Pump, pump_once
from ndlambda.stores.ports import Message


class Queue:
    """Gives one batch, and tells when it is asked and what was acknowledged."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.asked = threading.Event()
        self.acknowledged: list[str] = []

    def receive(self, limit=10, visibility_s=60):
        self.asked.set()
        taken, self.messages = self.messages, []
        return taken

    def ack(self, receipts):
        self.acknowledged += receipts


def world(**parts):
    """Give a runtime of stand-ins that have nothing to do."""
    idle = {
        "settings": SimpleNamespace(store="aws", data=Path("nowhere")),
        "drop": SimpleNamespace(sweep=lambda: 0),
        "ingest": SimpleNamespace(sweeper=SimpleNamespace(sweep_all=lambda: 0)),
        **{f"{name}_queue": Queue() for name in ("erase", "propagate", "drop", "ingest")},
    }
    return SimpleNamespace(**{**idle, **parts})


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
        world(erasure=service, propagation=service, erase_queue=queue, propagate_queue=building)
    )
    pump.start()
    try:
        assert queue.asked.wait(30)
        assert building.asked.wait(30)
    finally:
        pump.stop()


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
        world(erasure=service, propagation=service, propagate_queue=building),
        builders=1,
    )
    pump.start()
    try:
        assert building.asked.wait(30)
    finally:
        pump.stop()
    assert taken[0] == (1, 900)
