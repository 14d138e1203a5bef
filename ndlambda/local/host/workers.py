"""Threads that run requests, a limited number at once."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ndlambda.errors import ServerBusyError

_log = logging.getLogger("ndlambda.local")


class Workers:
    """Runs tasks in daemon threads, in order, at most ``size`` at once.

    A task that waits for memory does not count meanwhile: another one begins. Tasks of which it
    turns out that they are large leave some of the threads to others.

    Parameters
    ----------
    size
        Tasks that run at once.
    max_waiting
        Tasks that wait for memory or for other large ones; further ones are refused.
    """

    def __init__(self, size: int, name: str, max_waiting: int = 64) -> None:
        self._size = size
        self._max_large = max(1, size // 2)
        self._max_waiting = max_waiting
        self._name = name
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._turn = threading.Condition(self._lock)
        self._tasks: deque[Callable[[], None]] = deque()
        self._active = self._idle = self._large = self._waiting = self._returning = 0
        self._own = threading.local()

    def submit(self, task: Callable[[], None]) -> None:
        """Run a task as soon as a thread is free."""
        with self._lock:
            self._tasks.append(task)
            self._wake()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let another task run while the calling one waits for something.

        Raises
        ------
        ServerBusyError
            Too many wait already.
        """
        if not self._is_own():
            yield
            return
        with self._lock:
            if self._waiting == self._max_waiting:
                raise ServerBusyError("Too many large requests wait already; ask again later.")
            self._waiting += 1
            self._active -= 1
            self._wake()
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
                self._returning += 1
                self._turn.wait_for(lambda: self._active < self._size)
                self._returning -= 1
                self._active += 1

    def enter_large(self, max_wait_s: float) -> None:
        """Count the calling task as large until its end, waiting while too many others are.

        Raises
        ------
        ServerBusyError
            Too many wait already, or this one has waited too long.
        """
        if not self._is_own() or self._own.is_large:
            return
        with self._lock:
            self._own.is_large = self._large < self._max_large
            self._large += self._own.is_large
        if self._own.is_large:
            return
        with self.waiting(), self._lock:
            if not self._turn.wait_for(lambda: self._large < self._max_large, max_wait_s):
                raise ServerBusyError("The server is busy with other large requests; ask again.")
            self._large += 1
            self._own.is_large = True

    def _is_own(self) -> bool:
        return hasattr(self._own, "is_large")

    def _wake(self) -> None:
        if not self._tasks or self._active >= self._size:
            return
        if self._idle:
            self._work.notify()
        else:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
                while not self._tasks or self._active + self._returning >= self._size:
                    if self._idle > self._size:
                        self._idle -= 1
                        return
                    self._work.wait()
                self._idle -= 1
                self._active += 1
                task = self._tasks.popleft()
                self._wake()  # of two tasks for one idle thread, the second has woken none
            self._own.is_large = False
            try:
                task()
            except Exception:  # noqa: BLE001 - a task answers its own errors; the thread goes on
                _log.exception("a task failed")
            with self._lock:
                self._active -= 1
                self._large -= self._own.is_large
                if self._returning or self._own.is_large:
                    self._turn.notify_all()
                self._wake()
