import threading
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

    queue = Queue()
    erasure = SimpleNamespace(resend_pending=resend_pending)
    pump = Pump(SimpleNamespace(erasure=erasure, erase_queue=queue))
    pump.start()
    try:
        assert queue.asked.wait(30)
    finally:
        pump.stop()
