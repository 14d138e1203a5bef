"""An object store that answers as S3 does while its partitions of keys are few.

S3 serves a number of requests a second for each partition of keys, answers 503 to the rest, and
splits a partition by and by where it is pressed. Here a partition is split in the middle of the
keys that it was asked for lately, after some seconds in a row in which it refused any. Seconds are
modelled: the simulation sets when the next request begins.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from ndlambda.errors import UpstreamThrottledError

_REMEMBERED = 1000
_VERBS = frozenset({"get", "put", "delete"})


@dataclass
class _Partition:
    asked: int = 0
    pressed_s: int = 0
    lately: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))


class PartitionedStore:
    """An ``ObjectStore`` whose requests for single objects are throttled by partition.

    Parameters
    ----------
    store
        What answers.
    per_second
        Requests that a partition serves in a second.
    patience_s
        Seconds in a row of throttling after which a partition is split.

    Attributes
    ----------
    partitions
        How many there are.
    throttled
        Requests that were refused.
    """

    def __init__(self, store: Any, *, per_second: int, patience_s: int) -> None:
        self._store = store
        self._per_second = per_second
        self._patience_s = patience_s
        self._starts = [""]
        self._parts = [_Partition()]
        self.throttled = 0

    @property
    def partitions(self) -> int:
        """How many partitions there are."""
        return len(self._parts)

    def __getattr__(self, name: str) -> Any:
        """Return a verb of the store; of those for single objects, one that may be throttled."""
        verb = getattr(self._store, name)
        if name not in _VERBS:
            return verb

        def asked(key: str, *args: Any, **kwargs: Any) -> Any:
            self._admit(key)
            return verb(key, *args, **kwargs)

        return asked

    def next_second(self) -> None:
        """Begin the next second; partitions that were pressed for long enough are split first."""
        for index in reversed(range(len(self._parts))):
            part = self._parts[index]
            part.pressed_s = part.pressed_s + 1 if part.asked > self._per_second else 0
            part.asked = 0
            middle = sorted(part.lately)[len(part.lately) // 2] if part.lately else ""
            if part.pressed_s >= self._patience_s and middle > self._starts[index]:
                self._starts.insert(index + 1, middle)
                self._parts[index : index + 1] = [_Partition(), _Partition()]

    def _admit(self, key: str) -> None:
        part = self._parts[bisect_right(self._starts, key) - 1]
        part.asked += 1
        part.lately.append(key)
        if part.asked > self._per_second:
            self.throttled += 1
            raise UpstreamThrottledError("The store asks for fewer requests; try again.")


def seconds_to_read(store: PartitionedStore, keys: Iterable[str], at_once: int) -> int:
    """Read objects in an order, so many in a second, those refused again in the next one.

    Returns
    -------
    int
        Modelled seconds until all are read.
    """
    seconds, left = 0, iter(keys)
    refused: list[str] = []
    while some := list(islice(chain(refused, left), at_once)):
        refused = []
        for key in some:
            try:
                store.get(key)
            except UpstreamThrottledError:
                refused.append(key)
        store.next_second()
        seconds += 1
    return seconds
