"""A bound on the bytes that all running requests of a process hold at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ndlambda.errors import PayloadTooLargeError, QuotaExceededError


class ByteBudget:
    """Admits work while the declared bytes of all admitted work stay under a limit.

    Parameters
    ----------
    limit_bytes
        The bound; one piece of work over it is refused outright.
    patience_s
        How long work waits for others to finish before it is refused.
    """

    def __init__(self, limit_bytes: int, patience_s: float = 30.0) -> None:
        self._limit = limit_bytes
        self._patience_s = patience_s
        self._held = 0
        self._freed = threading.Condition()

    @contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        """Hold bytes while the block runs.

        Raises
        ------
        PayloadTooLargeError
            Asked for more than the whole budget.
        QuotaExceededError
            The budget stayed taken for ``patience_s``.
        """
        with self.hold_growing() as take:
            take(size_bytes)
            yield

    @contextmanager
    def hold_growing(self) -> Iterator[Callable[[int], None]]:
        """Return what takes more bytes, for work whose size shows on its way; they go with its end.

        Two such pieces of work may wait for one another, but not longer than their patience. Taking
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

    def _take(self, size_bytes: int, in_all: int) -> None:
        if in_all > self._limit:  # it would wait for itself
            raise PayloadTooLargeError(
                f"This needs {in_all} bytes of memory, over the server's {self._limit}; "
                "ask in smaller boxes.",
                limit=self._limit,
                asked=in_all,
            )
        with self._freed:
            if not self._freed.wait_for(
                lambda: self._held + size_bytes <= self._limit, self._patience_s
            ):
                raise QuotaExceededError(
                    "The server is busy with other large requests; wait and ask again.",
                    retry_after_s=5,
                )
            self._held += size_bytes
