"""The three ports with counters in front of them, so that a test can say that nothing was written.

A call counts when it is made, also where it changes nothing or fails.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from ndlambda import runtime
from ndlambda.runtime import Runtime
from ndlambda.settings import Settings
from ndlambda.stores.ports import (
    Action,
    ByteRange,
    Check,
    Expectation,
    Message,
    ObjectInfo,
    ObjectStore,
    Page,
    PutMode,
    Queue,
    Row,
    StoredObject,
    Table,
)


@dataclass
class Counters:
    """How often a port was called to read, and to write."""

    reads: int = 0
    writes: int = 0


class CountingObjectStore:
    """An object store whose calls are counted; signing an address is no call."""

    def __init__(self, inner: ObjectStore, counters: Counters | None = None) -> None:
        self._inner = inner
        self.counters = counters or Counters()

    @property
    def whole_reads_are_cheap(self) -> bool:
        return self._inner.whole_reads_are_cheap

    def get(
        self, key: str, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> StoredObject | None:
        self.counters.reads += 1
        return self._inner.get(key, byte_range, if_match=if_match)

    def put(self, key: str, data: bytes | memoryview, mode: PutMode) -> str:
        self.counters.writes += 1
        return self._inner.put(key, data, mode)

    def delete(self, key: str) -> None:
        self.counters.writes += 1
        self._inner.delete(key)

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        self.counters.reads += 1
        return self._inner.list(prefix, after)

    def presign(
        self,
        verb: Literal["get", "put"],
        key: str,
        expires_s: int,
        size_bytes: int | None = None,
    ) -> str | None:
        return self._inner.presign(verb, key, expires_s, size_bytes)


class CountingTable:
    """A table whose calls are counted; a transaction of checks alone is a read."""

    def __init__(self, inner: Table, counters: Counters | None = None) -> None:
        self._inner = inner
        self.counters = counters or Counters()

    def get(self, pk: str, sk: str) -> Row | None:
        self.counters.reads += 1
        return self._inner.get(pk, sk)

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
        self.counters.reads += 1
        return self._inner.batch_get(keys)

    def query(
        self,
        pk: str,
        *,
        first: str = "",
        last: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page:
        self.counters.reads += 1
        return self._inner.query(pk, first=first, last=last, limit=limit, cursor=cursor)

    def put(self, row: Row, expect: Expectation = "any") -> int:
        self.counters.writes += 1
        return self._inner.put(row, expect)

    def delete(self, pk: str, sk: str, expect: Expectation = "any") -> None:
        self.counters.writes += 1
        self._inner.delete(pk, sk, expect)

    def add_members(self, pk: str, sk: str, members: AbstractSet[int]) -> int:
        self.counters.writes += 1
        return self._inner.add_members(pk, sk, members)

    def batch_add_members(self, sets: Mapping[tuple[str, str], AbstractSet[int]]) -> None:
        self.counters.writes += 1
        self._inner.batch_add_members(sets)

    def remove_members(self, pk: str, sk: str, members: AbstractSet[int], if_version: int) -> bool:
        self.counters.writes += 1
        return self._inner.remove_members(pk, sk, members, if_version)

    def batch_remove_members(
        self,
        sets: Mapping[tuple[str, str], AbstractSet[int]],
        if_versions: Mapping[tuple[str, str], int],
    ) -> int:
        self.counters.writes += 1
        return self._inner.batch_remove_members(sets, if_versions)

    def increment(self, pk: str, sk: str, field: str, by: int = 1) -> int:
        self.counters.writes += 1
        return self._inner.increment(pk, sk, field, by)

    def raise_counter(self, pk: str, sk: str, field: str, at_least: int) -> int:
        self.counters.writes += 1
        return self._inner.raise_counter(pk, sk, field, at_least)

    def transact(self, actions: Sequence[Action]) -> None:
        if all(isinstance(action, Check) for action in actions):
            self.counters.reads += 1
        else:
            self.counters.writes += 1
        self._inner.transact(actions)


class CountingQueue:
    """A queue whose calls are counted."""

    def __init__(self, inner: Queue, counters: Counters | None = None) -> None:
        self._inner = inner
        self.counters = counters or Counters()

    def send(self, bodies: Sequence[str], delay_s: int = 0) -> None:
        self.counters.writes += 1
        self._inner.send(bodies, delay_s)

    def receive(self, limit: int = 10, visibility_s: int = 60) -> Sequence[Message]:
        self.counters.writes += 1
        return self._inner.receive(limit, visibility_s)

    def ack(self, receipts: Sequence[str]) -> None:
        self.counters.writes += 1
        self._inner.ack(receipts)

    def retry_later(self, receipt: str, delay_s: int) -> None:
        self.counters.writes += 1
        self._inner.retry_later(receipt, delay_s)

    def dead_letters(self, limit: int = 10) -> Sequence[Message]:
        self.counters.reads += 1
        return self._inner.dead_letters(limit)

    def redrive(self) -> int:
        self.counters.writes += 1
        return self._inner.redrive()


def build_counted(settings: Settings) -> tuple[Runtime, Counters]:
    """Build a runtime whose stores share one pair of counters."""
    counters = Counters()
    with _counted(counters):
        return runtime.build(settings), counters


@contextmanager
def _counted(counters: Counters) -> Iterator[None]:
    """Put counters in front of the stores that runtimes are built on meanwhile."""
    open_stores = runtime._stores

    def open_counted(
        settings: Settings,
    ) -> tuple[ObjectStore, ObjectStore, Table, Callable[[str], Queue]]:
        objects, dropped, table, open_queue = open_stores(settings)
        return (
            CountingObjectStore(objects, counters),
            CountingObjectStore(dropped, counters),
            CountingTable(table, counters),
            lambda name: CountingQueue(open_queue(name), counters),
        )

    runtime._stores = open_counted
    try:
        yield
    finally:
        runtime._stores = open_stores
