"""Equal messages, handled by one thread for all that hold one."""

from collections.abc import Callable
from threading import Lock
from typing import Any


class Merged:
    """A handler of one message a call, which leaves what another thread is at to that thread.

    A chunk is called for by each of its slices and by every sweep, so that builders often hold the
    same message at once; each would decode and write all of it. Whoever comes second is done at
    once, and the first looks again at the end: what was built is not built anew. Nothing is lost
    with the process, since messages only wake.

    Parameters
    ----------
    handler
        Takes an SQS event of one record, and may be repeated.
    """

    def __init__(self, handler: Callable[[dict[str, Any], Any], dict[str, Any]]) -> None:
        self._handler = handler
        self._lock = Lock()
        self._called_again: dict[str, bool] = {}
        """By the bodies of the messages under way."""

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Handle the message of an event."""
        (record,) = event["Records"]
        body = record["body"]
        with self._lock:
            if body in self._called_again:
                self._called_again[body] = True
                return {"batchItemFailures": []}
            self._called_again[body] = False
        try:
            while True:
                answer = self._handler(event, context)
                with self._lock:
                    # One that failed comes back by itself, for all of them.
                    if answer.get("batchItemFailures") or not self._called_again[body]:
                        del self._called_again[body]
                        return answer
                    self._called_again[body] = False
        except BaseException:
            with self._lock:
                del self._called_again[body]
            raise
