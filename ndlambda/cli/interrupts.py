"""Interruptions of a long command: Ctrl-C, and a server that does not answer."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import click


@contextmanager
def interruptible_sleep() -> Iterator[Callable[[float], None]]:
    """Yield a sleep function that raises ``KeyboardInterrupt`` in any thread after Ctrl-C.

    Python interrupts only the main thread, which then waits for the others: with an unreachable
    server, for as long as they retry.
    """
    pressed = threading.Event()

    def sleep(seconds: float) -> None:
        if pressed.wait(seconds):
            raise KeyboardInterrupt

    def press(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.default_int_handler(number, frame)

    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield sleep
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield sleep
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(slots=True)
class Outage:
    """Reports that requests are being retried, at most once per retry period.

    Safe to share between threads.

    Attributes
    ----------
    retry_s
        How long requests are retried.
    clock
        Unix seconds.
    """

    retry_s: float
    clock: Callable[[], float] = time.time
    _until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, reason: str) -> None:
        """Report a failed attempt, unless one was reported within ``retry_s``."""
        with self._lock:
            now = self.clock()
            if now < self._until:
                return
            self._until = now + self.retry_s
        until = time.strftime("%H:%M:%S", time.localtime(self._until))
        text = f"The server does not answer ({reason}); trying again until {until} at most."
        click.echo(text, err=True)
