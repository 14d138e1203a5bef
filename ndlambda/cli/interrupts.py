"""What interrupts a long command: Ctrl-C, and a server that does not answer."""

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
    """Return a sleep for any thread that ends with ``KeyboardInterrupt`` when Ctrl-C is pressed.

    Python tells the main thread only, and that then waits for the others: of a server that is
    away, for as long as they try again.
    """
    pressed = threading.Event()

    def sleep(seconds: float) -> None:
        if pressed.wait(seconds):
            raise KeyboardInterrupt

    def press(number: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.default_int_handler(number, frame)

    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield sleep
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield sleep
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(slots=True)
class Outage:
    """Tells once that requests are tried again, and once more if that is so much later, too.

    Safe to share between threads.

    Attributes
    ----------
    patience_s
        How long they are tried again.
    clock
        Unix seconds.
    """

    patience_s: float
    clock: Callable[[], float] = time.time
    _until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, reason: str) -> None:
        """Say that a try failed, unless that was said within ``patience_s``."""
        with self._lock:
            now = self.clock()
            if now < self._until:
                return
            self._until = now + self.patience_s
        until = time.strftime("%H:%M:%S", time.localtime(self._until))
        text = f"The server does not answer ({reason}); trying again until about {until}."
        click.echo(text, err=True)
