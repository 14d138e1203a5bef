"""Bounds the memory that all running requests of a process hold at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ndlambda.deadline import at_most
from ndlambda.errors import PayloadTooLargeError, QuotaExceededError


class ByteBudget:
    """Admits work while the declared bytes of all admitted work stay under a limit.

    Parameters
    ----------
    limit_bytes
        The bound; one piece of work over it is refused immediately.
    max_wait_s
        How long work waits for others to finish before it is refused.
    """

    def __init__(self, limit_bytes: int, max_wait_s: float = 30.0) -> None:
        self._limit = limit_bytes
        self._max_wait_s = max_wait_s
        self._held = 0
        self._freed = threading.Condition()

    @contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        """Hold bytes while the block runs.

        Raises
        ------
        PayloadTooLargeError
            More than the whole budget is requested.
        QuotaExceededError
            The budget stayed exhausted for ``max_wait_s``.
        """
        with self.hold_growing() as take:
            take(size_bytes)
            yield

    @contextmanager
    def hold_growing(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that takes more bytes, for work of unknown size; free all at the end.

        Two such pieces of work may wait for one another, but at most ``max_wait_s``. The function
        raises as ``hold`` does.
        """
        held = 0

        def take(size_bytes: int) -> None:
            nonlocal held
            self._take(size_bytes, held + size_bytes)
            held += size_bytes

        try:
            yield take
        finally:
            with self._freed:
                self._held -= held
                self._freed.notify_all()

    def _take(self, size_bytes: int, total_bytes: int) -> None:
        if total_bytes > self._limit:  # it would wait for itself
            raise PayloadTooLargeError(
                f"This needs {total_bytes} bytes of memory, more than the server's {self._limit}; "
                "ask for smaller boxes.",
                limit=self._limit,
                asked=total_bytes,
            )
        with self._freed:
            if not self._freed.wait_for(
                lambda: self._held + size_bytes <= self._limit, at_most(self._max_wait_s)
            ):
                raise QuotaExceededError(
                    "The server is busy with other large requests; wait and ask again.",
                    retry_after_s=5,
                )
            self._held += size_bytes
