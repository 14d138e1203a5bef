"""The laptop's stand-in for Lambda's queue events: polls queues and calls ``functions/``."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from functions import erase
from ndlambda.runtime import Runtime
from ndlambda.stores.ports import Message, Queue

_log = logging.getLogger("ndlambda.local.pump")

_IDLE_S = 1.0
_RESEND_EVERY = 60
_Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


def sqs_event(messages: list[Message]) -> dict[str, Any]:
    """Give messages in the shape in which Lambda hands SQS messages to a function."""
    return {
        "Records": [
            {
                "messageId": message.id,
                "receiptHandle": message.receipt,
                "body": message.body,
                "attributes": {"ApproximateReceiveCount": str(message.receive_count)},
                "eventSource": "aws:sqs",
            }
            for message in messages
        ]
    }


def pump_once(queue: Queue, handler: _Handler) -> int:
    """Take one batch through a handler; what it reports as failed comes back by itself."""
    messages = list(queue.receive())
    if not messages:
        return 0
    answer = handler(sqs_event(messages), None)
    failed = {item["itemIdentifier"] for item in answer.get("batchItemFailures", ())}
    queue.ack([message.receipt for message in messages if message.id not in failed])
    return len(messages)


class Pump:
    """A thread that keeps queues empty and wakes workers whose messages were lost."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the batch under way."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        rounds = 0
        while not self._stopping.is_set():
            try:
                if rounds % _RESEND_EVERY == 0:
                    self._runtime.erasure.resend_pending()
                busy = pump_once(self._runtime.erase_queue, erase.handler)
            except Exception:  # noqa: BLE001 - no fault of one job may end the work of all
                _log.exception("the pump failed; it goes on")
                busy = 0
            rounds += 1
            if not busy:
                self._stopping.wait(_IDLE_S)
