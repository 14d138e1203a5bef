"""Coalesces duplicate messages: at most one thread works on a message body at a time."""

from collections.abc import Callable
from threading import Lock
from typing import Any


class Merged:
    """A handler of single messages that runs once for concurrent duplicates.

    A chunk is enqueued by each of its slices and by every sweep, so builders often receive the same
    message at once, and each would decode and write the whole chunk. A duplicate returns at once,
    and the first handler runs again at its end, which is cheap for a built chunk. Nothing is lost
    if the process dies, since messages only wake workers.

    Parameters
    ----------
    handler
        Takes an SQS event of one record; idempotent.
    """

    def __init__(self, handler: Callable[[dict[str, Any], Any], dict[str, Any]]) -> None:
        self._handler = handler
        self._lock = Lock()
        self._has_duplicate: dict[str, bool] = {}
        """By the bodies of the messages being handled."""

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Handle the message of an event."""
        (record,) = event["Records"]
        body = record["body"]
        with self._lock:
            if body in self._has_duplicate:
                self._has_duplicate[body] = True
                return {"batchItemFailures": []}
            self._has_duplicate[body] = False
        try:
            while True:
                answer = self._handler(event, context)
                with self._lock:
                    # A failed message is redelivered, for its duplicates, too.
                    if answer.get("batchItemFailures") or not self._has_duplicate[body]:
                        del self._has_duplicate[body]
                        return answer
                    self._has_duplicate[body] = False
        except BaseException:
            with self._lock:
                del self._has_duplicate[body]
            raise
