"""Bounds the memory that all running requests of a process hold at once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, Protocol

from ndlambda.deadline import at_most
from ndlambda.errors import PayloadTooLargeError, ServerBusyError

_LARGE_SHARE: Final = 256
"""Work that needs more than this part of the limit is large."""
_SMALL_SHARE: Final = 16
"""Part of the limit that large work leaves to small work."""


class MemoryAwaited(BaseException):
    """Raised inside ``ByteBudget.impatient`` where work would have to wait."""


class Gate(Protocol):
    """What runs the work, and hears of work that waits or is large."""

    def enter_large(self, max_wait_s: float) -> None:
        """Admit the calling thread to large work until its task ends, or raise."""

    def waiting(self) -> AbstractContextManager[object]:
        """Return a context in which the calling thread waits."""


class _OpenGate:
    def enter_large(self, max_wait_s: float) -> None:
        pass

    def waiting(self) -> AbstractContextManager[object]:
        return nullcontext()


class ByteBudget:
    """Admits work while the declared bytes of all admitted work stay under a limit.

    Large work leaves a part of the limit to small work, which so overtakes it.

    Parameters
    ----------
    limit_bytes
        The bound; one piece of work over it is refused immediately.
    max_wait_s
        How long work waits for others to finish before it is refused.

    Attributes
    ----------
    gate
        Set by a host that runs other work while some of it waits.
    """

    def __init__(self, limit_bytes: int, max_wait_s: float = 30.0) -> None:
        self.gate: Gate = _OpenGate()
        self._limit = limit_bytes
        self._max_wait_s = max_wait_s
        self._held = 0
        self._held_by_large = 0
        self._freed = threading.Condition()
        self._own = threading.local()

    @contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        """Hold bytes while the block runs.

        Raises
        ------
        PayloadTooLargeError
            More than the whole budget is requested.
        ServerBusyError
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
        held = held_by_large = 0

        def take(size_bytes: int) -> None:
            nonlocal held, held_by_large
            is_large = held + size_bytes > self._limit // _LARGE_SHARE
            self._take(size_bytes, held + size_bytes, held_by_large if is_large else None)
            held += size_bytes
            held_by_large += size_bytes * is_large

        try:
            yield take
        finally:
            with self._freed:
                self._held -= held
                self._held_by_large -= held_by_large
                self._freed.notify_all()

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Raise ``MemoryAwaited`` where work of this thread would have to wait for others."""
        self._own.is_impatient = True
        try:
            yield
        finally:
            self._own.is_impatient = False

    def _take(self, size_bytes: int, total_bytes: int, own_large_bytes: int | None) -> None:
        """Hold bytes; ``own_large_bytes`` of large work are held already, None for small work."""
        if total_bytes > self._limit:  # it would wait for itself
            raise PayloadTooLargeError(
                f"This needs {total_bytes} bytes of memory, more than the server's {self._limit}; "
                "ask for smaller boxes.",
                limit=self._limit,
                asked=total_bytes,
            )
        is_impatient = getattr(self._own, "is_impatient", False)
        if own_large_bytes is not None and not is_impatient:
            self.gate.enter_large(self._max_wait_s)
        if self._take_at_once(size_bytes, own_large_bytes):
            return
        if is_impatient:
            raise MemoryAwaited
        with self.gate.waiting(), self._freed:
            if not self._freed.wait_for(
                lambda: self._take_at_once(size_bytes, own_large_bytes), at_most(self._max_wait_s)
            ):
                raise ServerBusyError(
                    "The server is busy with other large requests; wait and ask again.",
                    retry_after_s=5,
                )

    def _take_at_once(self, size_bytes: int, own_large_bytes: int | None) -> bool:
        with self._freed:
            limit = self._limit
            if own_large_bytes is not None and self._held_by_large > own_large_bytes:
                limit -= self._limit // _SMALL_SHARE  # the only large work may need all there is
            if self._held + size_bytes > limit:
                return False
            self._held += size_bytes
            self._held_by_large += size_bytes if own_large_bytes is not None else 0
            return True
