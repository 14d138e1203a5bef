"""A small cache whose entries expire after seconds."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TimedCache(Generic[K, V]):
    """Caches the results of ``load`` by key, at most ``seconds`` after the load began.

    The least recently used entry is evicted when there are more than ``size``. Thread-safe.
    """

    def __init__(self, seconds: float, size: int, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._generation = 0

    def get(self, key: K, load: Callable[[], V], *, fresh: bool = False) -> V:
        """Return the cached value, or load and cache it; errors of ``load`` propagate.

        With ``fresh`` it is always loaded.
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
            # A load that began before a ``clear`` may have read outdated data.
            if generation == self._generation:
                self._entries[key] = (now, value)
                self._entries.move_to_end(key)
                while len(self._entries) > self._size:
                    self._entries.popitem(last=False)
        return value

    def peek(self, key: K) -> V | None:
        """Return the cached value even if it has expired, None if there is none."""
        with self._lock:
            entry = self._entries.get(key)
            return None if entry is None else entry[1]

    def clear(self) -> None:
        """Drop all entries, and the results of loads in progress."""
        with self._lock:
            self._generation += 1
            self._entries.clear()
