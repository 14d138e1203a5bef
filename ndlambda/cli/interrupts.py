"""Ctrl-C while threads wait for a server: they stop waiting, too."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible_sleep() -> Iterator[Callable[[float], None]]:
    """Give a sleep for any thread that ends with ``KeyboardInterrupt`` when Ctrl-C is pressed.

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
