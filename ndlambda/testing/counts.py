"""Totals of requests to stores, and of the items and bytes that they move."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeVar

from ndlambda.errors import PreconditionFailedError
from ndlambda.stores.ports import Message, Row

T = TypeVar("T")

_MEMBER_BYTES = 8


class Counts:
    """Totals of requests; safe to use from many threads.

    Parameters
    ----------
    record_keys
        Whether to keep what each request was about, for ``keys``.

    Attributes
    ----------
    calls
        How often each verb was called: ``calls["objects.put"]``.
    items, sizes
        By verb: how many objects, lines of listings, rows or messages were asked for, sent or
        returned, and their bytes. Of a row these are its keys, its doc as JSON, and 8 for each
        member; lines have none.
    reads, writes
        Requests that changed nothing, and those that may have.
    """

    def __init__(self, *, record_keys: bool = False) -> None:
        self.calls: Counter[str] = Counter()
        self.items: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self.reads = 0
        self.writes = 0
        self._keys: list[tuple[str, Any]] | None = [] if record_keys else None
        self._lock = Lock()

    @property
    def requests(self) -> int:
        """All reads and writes."""
        return self.reads + self.writes

    def keys(self, verb: str) -> list[Any]:
        """Return the keys that a verb was called with, in order.

        They are ``key`` of an object store, ``(pk, sk)`` of a table (a list of them where it was
        called with many; of a query ``(pk, first)``), the body or receipt of a queue (or a list).

        Raises
        ------
        ValueError
            Keys are not recorded.
        """
        if self._keys is None:
            raise ValueError("Say record_keys=True.")
        return [key for called, key in self._keys if called == verb]

    def reset(self) -> None:
        """Count from zero."""
        with self._lock:
            for counter in (self.calls, self.items, self.sizes):
                counter.clear()
            self.reads = self.writes = 0
            if self._keys is not None:
                self._keys.clear()

    @contextmanager
    def no_writes(self) -> Iterator[None]:
        """Assert that nothing is written inside the block."""
        before, calls = self.writes, self.calls.copy()
        yield
        assert self.writes == before, f"written: {self.calls - calls}"

    def add(self, verb: str, key: object, *, reads: int = 0, writes: int = 0) -> None:
        """Count one call."""
        with self._lock:
            self.calls[verb] += 1
            self.reads += reads
            self.writes += writes
            if self._keys is not None:
                self._keys.append((verb, key))

    def move(self, verb: str, items: int, size_bytes: int) -> None:
        """Count what a call sent or returned."""
        with self._lock:
            self.items[verb] += items
            self.sizes[verb] += size_bytes

    def read(
        self,
        verb: str,
        key: object,
        operation: Callable[[], T],
        measure: Callable[[T], tuple[int, int]] = lambda _: (1, 0),
    ) -> T:
        """Count a read, carry it out, and count the items and bytes of its result."""
        self.add(verb, key, reads=1)
        result = operation()
        self.move(verb, *measure(result))
        return result

    def write(
        self,
        verb: str,
        key: object,
        operation: Callable[[], T],
        items: int = 1,
        size_bytes: int = 0,
    ) -> T:
        """Carry out a write and count it: also one that failed, unless by its precondition."""
        refused = False
        try:
            return operation()
        except PreconditionFailedError:
            refused = True
            raise
        finally:
            self.add(verb, key, reads=refused, writes=not refused)
            self.move(verb, items, size_bytes)


def row_bytes(row: Row | None) -> int:
    """Return the bytes of a row, 0 of none."""
    if row is None:
        return 0
    doc = json.dumps(dict(row.doc)) if row.doc else ""
    return len(row.pk) + len(row.sk) + len(doc) + members_bytes(row.members)


def members_bytes(members: AbstractSet[int]) -> int:
    """Return the bytes of members of a row."""
    return _MEMBER_BYTES * len(members)


def rows_moved(rows: Collection[Row]) -> tuple[int, int]:
    """Return the number of rows and their bytes."""
    return len(rows), sum(map(row_bytes, rows))


def messages_moved(messages: Sequence[Message]) -> tuple[int, int]:
    """Return the number of messages and the bytes of their bodies."""
    return len(messages), sum(len(each.body) for each in messages)


def no_items(_: object) -> tuple[int, int]:
    """Return that nothing was moved."""
    return 0, 0


def some(
    counts: Counts, verb: str, keys: Sequence[Any], operation: Callable[[], T], size_bytes: int = 0
) -> T:
    """Count a write, or a read if there is nothing to write."""
    if not keys:
        return counts.read(verb, keys, operation, no_items)
    return counts.write(verb, keys, operation, len(keys), size_bytes)
