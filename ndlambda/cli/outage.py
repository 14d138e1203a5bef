"""A server that is away for a while: one line on the terminal, however many requests meet it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

import click


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
    _lock: Lock = field(default_factory=Lock)

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
