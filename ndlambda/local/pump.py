"""The laptop's stand-in for Lambda's queue events: polls queues and calls ``functions/``."""

import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from functions import erase, ingest_build, propagate, s3_drop
from ndlambda.local.drop_folder import DropFolder
from ndlambda.runtime import Runtime
from ndlambda.stores.ports import Message, Queue

_log = logging.getLogger("ndlambda.local.pump")

_IDLE_S = 1.0
_RESEND_EVERY_S = 60.0
_BUILD_VISIBILITY_S = 900
_MOST_BUILDERS = 4
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


def pump_once(queue: Queue, handler: _Handler, limit: int = 10, visibility_s: int = 60) -> int:
    """Take one batch through a handler; what it reports as failed comes back by itself."""
    messages = list(queue.receive(limit, visibility_s))
    if not messages:
        return 0
    answer = handler(sqs_event(messages), None)
    failed = {item["itemIdentifier"] for item in answer.get("batchItemFailures", ())}
    queue.ack([message.receipt for message in messages if message.id not in failed])
    return len(messages)


class Pump:
    """Threads that keep queues empty and wake workers whose messages were lost.

    Parameters
    ----------
    runtime
        Whose queues.
    builders
        Threads that build coarser resolutions; by default as many as cores, from 2 to 4.
    """

    def __init__(self, runtime: Runtime, builders: int | None = None) -> None:
        self._runtime = runtime
        self._stopping = threading.Event()
        erasing = partial(pump_once, runtime.erase_queue, erase.handler)
        building = partial(
            pump_once, runtime.propagate_queue, propagate.handler, 1, _BUILD_VISIBILITY_S
        )
        ingesting = partial(
            pump_once, runtime.ingest_queue, ingest_build.handler, 1, _BUILD_VISIBILITY_S
        )
        dropping = partial(pump_once, runtime.drop_queue, s3_drop.handler)
        self._drop_folder = DropFolder(runtime.settings.data, runtime.drop_queue)
        self._threads = [
            self._thread("resend", self._resend, _RESEND_EVERY_S),
            self._thread("erase", erasing, _IDLE_S),
            self._thread("drop", dropping, _IDLE_S),
        ]
        if runtime.settings.store == "disk":
            self._threads.append(self._thread("drop-folder", self._watch, 0))
        for _ in range(builders or max(2, min(_MOST_BUILDERS, os.cpu_count() or 1))):
            self._threads.append(self._thread("propagate", building, _IDLE_S))
            self._threads.append(self._thread("ingest", ingesting, _IDLE_S))

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the batches under way."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _thread(self, name: str, work: Callable[[], int], idle_s: float) -> threading.Thread:
        return threading.Thread(
            target=self._repeat, args=(work, idle_s), name=f"pump-{name}", daemon=True
        )

    def _resend(self) -> int:
        self._runtime.erasure.resend_pending()
        self._runtime.propagation.resend_pending()
        self._runtime.drop.sweep()
        self._runtime.fetcher.sweep()
        self._runtime.ingest.sweeper.sweep_all()
        return 0

    def _watch(self) -> int:
        try:
            return self._drop_folder.look()
        finally:
            self._stopping.wait(self._drop_folder.pause_s)

    def _repeat(self, work: Callable[[], int], idle_s: float) -> None:
        while not self._stopping.is_set():
            try:
                busy = work()
            except Exception:  # noqa: BLE001 - no fault of one job may end the work of all
                _log.exception("the pump failed; it goes on")
                busy = 0
            if not busy:
                self._stopping.wait(idle_s)
