"""A small memory of look-ups, for seconds."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TimedCache(Generic[K, V]):
    """Remembers what ``load`` gave for a key, at most ``seconds`` after the load began.

    The least recently used entry leaves when there are more than ``size``. Safe for threads.
    """

    def __init__(self, seconds: float, size: int, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._generation = 0

    def get(self, key: K, load: Callable[[], V], *, fresh: bool = False) -> V:
        """Return the remembered value, or load and remember it. What ``load`` raises passes.

        With ``fresh`` it is loaded in any case.
        """
        now = self._clock()
        with self._lock:
            entry = self._entries.get(key)
            # A clock that was set back must not keep an entry alive.
            if not fresh and entry is not None and 0 <= now - entry[0] < self._seconds:
                self._entries.move_to_end(key)
                return entry[1]
            generation = self._generation
        value = load()
        with self._lock:
            # A load that began before a change of ours may have read what was before it.
            if generation == self._generation:
                self._entries[key] = (now, value)
                self._entries.move_to_end(key)
                while len(self._entries) > self._size:
                    self._entries.popitem(last=False)
        return value

    def forget(self) -> None:
        """Drop everything, and whatever is being loaded now."""
        with self._lock:
            self._generation += 1
            self._entries.clear()
