"""Emulates Lambda's queue events: polls the queues and calls the handlers in ``functions/``."""

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import chain, repeat
from typing import Any

from functions import erase, ingest_build, propagate, s3_drop
from ndlambda.local.drop_folder import DropFolder
from ndlambda.local.expiry import Expiry
from ndlambda.local.merged import Merged
from ndlambda.runtime import Runtime
from ndlambda.services.support.tries import pause_s
from ndlambda.services.support.watch import MAX_PAUSE_S
from ndlambda.stores.ports import Message, Queue

_log = logging.getLogger("ndlambda.local.pump")

_IDLE_S = 1.0
_SWEEP_EVERY_S = 86_400.0
_SECOND_SWEEP_S = MAX_PAUSE_S + 1
"""By then every chain whose message was lost with its queue is overdue."""
_EXPIRE_EVERY_S = 600.0
_MORE_VISIBLE_S = 60
"""Seconds, after a worker must have ended, until its message comes back."""
_MAX_BUILDERS = 4
_Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


def sqs_event(messages: list[Message]) -> dict[str, Any]:
    """Return messages as the event that Lambda passes to a function."""
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
    """Pass one batch to a handler; failed messages are redelivered after growing pauses."""
    messages = list(queue.receive(limit, visibility_s))
    if not messages:
        return 0
    try:
        answer = handler(sqs_event(messages), None)
        failed = {item["itemIdentifier"] for item in answer.get("batchItemFailures", ())}
    except Exception:  # noqa: BLE001 - logged there; a handler raises it for the whole batch
        failed = {message.id for message in messages}
    queue.ack([message.receipt for message in messages if message.id not in failed])
    for message in messages:
        if message.id in failed:
            queue.retry_later(message.receipt, math.ceil(pause_s(message.receive_count)))
    return len(messages)


class Pump:
    """Threads that consume the queues, and sweep at the start, soon after it, and every day.

    Parameters
    ----------
    builders
        Threads that build coarser resolutions; by default as many as cores, from 2 to 4.
    """

    def __init__(self, runtime: Runtime, builders: int | None = None) -> None:
        self._runtime = runtime
        self._stopping = threading.Event()
        self._turn = threading.Condition()
        self._batches = 0
        queues = runtime.resources.queues
        work = partial(
            pump_once, visibility_s=math.ceil(runtime.settings.deadline_s) + _MORE_VISIBLE_S
        )
        erasing = partial(work, queues.erase, erase.handler)
        building = partial(work, queues.propagate, propagate.handler, 1)
        ingesting = partial(work, queues.ingest, Merged(ingest_build.handler), 1)
        dropping = partial(work, queues.drop, s3_drop.handler)
        self._drop_folder = DropFolder(
            runtime.settings.data,
            runtime.resources.queues.drop,
            is_stopping=self._stopping.is_set,
        )
        self._threads = [
            threading.Thread(target=self._sweep, name="pump-sweep", daemon=True),
            self._thread("erase", erasing),
            self._thread("drop", dropping),
        ]
        if runtime.settings.store == "disk":
            watching = threading.Thread(target=self._watch, name="pump-drop-folder", daemon=True)
            expiry = Expiry(runtime.settings.data / "objects", runtime.resources.objects)
            expiring = threading.Thread(
                target=self._expire, args=(expiry,), name="pump-expire", daemon=True
            )
            self._threads += [watching, expiring]
        for _ in range(builders or max(2, min(_MAX_BUILDERS, os.cpu_count() or 1))):
            self._threads.append(self._thread("propagate", building))
            self._threads.append(self._thread("ingest", ingesting))

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, max_wait_s: float = 60.0) -> None:
        """Stop after the batches under way, or without those that take too long.

        What these had in hand is done again, as after a crash.
        """
        self._stopping.set()
        with self._turn:
            self._turn.notify_all()
        deadline = time.monotonic() + max_wait_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                _log.warning("%s did not end within %g s", thread.name, max_wait_s)

    def _thread(self, name: str, work: Callable[[], int]) -> threading.Thread:
        return threading.Thread(target=self._repeat, args=(work,), name=f"pump-{name}", daemon=True)

    def _repeat(self, work: Callable[[], int]) -> None:
        """Work while there is any; else wait a second, or until another worker finishes a batch.

        A batch of one worker often enqueues work for another: a dropped slice enqueues a chunk, the
        last chunk a propagation.
        """
        while not self._stopping.is_set():
            before = self._batches
            if _guarded(work):
                self._notify()
            else:
                self._wait(before)

    def _wait(self, before: int) -> None:
        """Wait for a second, or until a batch after ``before`` is done."""
        with self._turn:
            if self._batches == before and not self._stopping.is_set():
                self._turn.wait(_IDLE_S)

    def _notify(self) -> None:
        """Wake all waiting threads."""
        with self._turn:
            self._batches += 1
            self._turn.notify_all()

    def _sweep(self) -> None:
        for wait_s in chain((_SECOND_SWEEP_S,), repeat(_SWEEP_EVERY_S)):
            if self._stopping.is_set():
                return
            for sweep in self._runtime.sweeps().values():
                if not self._stopping.is_set():
                    _guarded(sweep)
            self._notify()
            self._stopping.wait(wait_s)

    def _expire(self, expiry: Expiry) -> None:
        while not self._stopping.is_set():
            if not _guarded(expiry.sweep):
                self._stopping.wait(_EXPIRE_EVERY_S)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            if _guarded(self._drop_folder.poll):
                self._notify()
            self._stopping.wait(self._drop_folder.pause_s)


def _guarded(work: Callable[[], int]) -> int:
    try:
        return work()
    except Exception:  # noqa: BLE001 - one failing job must not stop the others
        _log.exception("a batch failed; the pump continues")
        return 0
