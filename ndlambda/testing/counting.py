"""Stores that count the requests made to them.

Wrap all the stores of a test world in one ``CountingStores`` and assert on its totals, instead of
comparing dumps of all rows and objects::

    stores = CountingStores()
    world = stores.wrap(disk_world(tmp_path))  # a dataclass whose fields are ports
    with pytest.raises(ReadOnlyChannelError), stores.no_writes():
        world.service().write(...)
    assert stores.calls["table.get"] == 1

A whole runtime is built on counting stores by
``runtime.build(settings, stores.wrap_ports(runtime.open_ports(settings)))``. Single stores are
wrapped by ``stores.objects(store)``, ``stores.table(table)`` and ``stores.queue(queue)``, or by
their classes, which then have counts of their own: ``CountingTable(table).writes``.

A write that its precondition refused changed nothing and counts as a read; a transaction of checks
alone is a read. ``presign`` reaches no store and is only in ``calls``.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from threading import Lock
from typing import Any, Literal, TypeVar, cast

from ndlambda.errors import PreconditionFailedError
from ndlambda.stores.ports import (
    Action,
    ByteRange,
    Check,
    Expectation,
    Message,
    ObjectInfo,
    ObjectStore,
    Page,
    Put,
    PutMode,
    Queue,
    Row,
    StoredObject,
    Table,
)
from ndlambda.stores.process import Ports

T = TypeVar("T")
World = TypeVar("World")


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
    reads, writes
        Requests that changed nothing, and those that may have.
    """

    def __init__(self, *, record_keys: bool = False) -> None:
        self.calls: Counter[str] = Counter()
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
            self.calls.clear()
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

    def read(self, verb: str, key: object, operation: Callable[[], T]) -> T:
        """Count a read and carry it out."""
        self.add(verb, key, reads=1)
        return operation()

    def write(self, verb: str, key: object, operation: Callable[[], T]) -> T:
        """Carry out a write and count it: also one that failed, unless by its precondition."""
        refused = False
        try:
            return operation()
        except PreconditionFailedError:
            refused = True
            raise
        finally:
            self.add(verb, key, reads=refused, writes=not refused)


class _Counting:
    """A store with its counts, which several stores may share."""

    def __init__(self, counts: Counts | None) -> None:
        self.counts = counts or Counts()

    @property
    def calls(self) -> Counter[str]:
        """How often each verb was called."""
        return self.counts.calls

    @property
    def reads(self) -> int:
        """Requests that changed nothing."""
        return self.counts.reads

    @property
    def writes(self) -> int:
        """Requests that may have changed something."""
        return self.counts.writes

    @property
    def requests(self) -> int:
        """All reads and writes."""
        return self.counts.requests


class CountingObjectStore(_Counting):
    """An object store that counts; its verbs are ``objects.get`` and so on."""

    def __init__(self, store: ObjectStore, counts: Counts | None = None) -> None:
        super().__init__(counts)
        self._store = store

    @property
    def whole_reads_are_cheap(self) -> bool:
        """As of the store."""
        return self._store.whole_reads_are_cheap

    def get(
        self, key: str, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> StoredObject | None:
        """Count and read."""
        return self.counts.read(
            "objects.get", key, lambda: self._store.get(key, byte_range, if_match=if_match)
        )

    def put(self, key: str, data: bytes | memoryview, mode: PutMode) -> str:
        """Count and write."""
        return self.counts.write("objects.put", key, lambda: self._store.put(key, data, mode))

    def delete(self, key: str) -> None:
        """Count and delete."""
        self.counts.write("objects.delete", key, lambda: self._store.delete(key))

    def delete_many(self, keys: Sequence[str]) -> None:
        """Count one write, if there is anything to delete, and delete."""
        count = self.counts.write if keys else self.counts.read
        count("objects.delete_many", list(keys), lambda: self._store.delete_many(keys))

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Count one read, however long the listing, and list."""
        return self.counts.read("objects.list", prefix, lambda: self._store.list(prefix, after))

    def presign(
        self,
        verb: Literal["get", "put"],
        key: str,
        expires_s: int,
        size_bytes: int | None = None,
    ) -> str | None:
        """Presign, which reads and writes nothing."""
        self.counts.add("objects.presign", key)
        return self._store.presign(verb, key, expires_s, size_bytes)


class CountingTable(_Counting):
    """A table that counts; its verbs are ``table.get`` and so on."""

    def __init__(self, table: Table, counts: Counts | None = None) -> None:
        super().__init__(counts)
        self._table = table

    def get(self, pk: str, sk: str) -> Row | None:
        """Count and read."""
        return self.counts.read("table.get", (pk, sk), lambda: self._table.get(pk, sk))

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
        """Count and read."""
        return self.counts.read("table.batch_get", list(keys), lambda: self._table.batch_get(keys))

    def query(
        self,
        pk: str,
        *,
        first: str = "",
        last: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page:
        """Count and read."""
        return self.counts.read(
            "table.query",
            (pk, first),
            lambda: self._table.query(pk, first=first, last=last, limit=limit, cursor=cursor),
        )

    def put(self, row: Row, expect: Expectation = "any") -> int:
        """Count and write."""
        return self.counts.write(
            "table.put", (row.pk, row.sk), lambda: self._table.put(row, expect)
        )

    def delete(self, pk: str, sk: str, expect: Expectation = "any") -> None:
        """Count and delete."""
        self.counts.write("table.delete", (pk, sk), lambda: self._table.delete(pk, sk, expect))

    def add_members(self, pk: str, sk: str, members: AbstractSet[int]) -> int:
        """Count and write."""
        return self.counts.write(
            "table.add_members", (pk, sk), lambda: self._table.add_members(pk, sk, members)
        )

    def batch_add_members(self, sets: Mapping[tuple[str, str], AbstractSet[int]]) -> None:
        """Count one write, if there is anything to add, and write."""
        verb = "table.batch_add_members"
        self._some(verb, list(sets), lambda: self._table.batch_add_members(sets))

    def remove_members(self, pk: str, sk: str, members: AbstractSet[int], if_version: int) -> bool:
        """Count and write."""
        return self.counts.write(
            "table.remove_members",
            (pk, sk),
            lambda: self._table.remove_members(pk, sk, members, if_version),
        )

    def batch_remove_members(
        self,
        sets: Mapping[tuple[str, str], AbstractSet[int]],
        if_versions: Mapping[tuple[str, str], int],
    ) -> int:
        """Count one write, if there is anything to remove, and write."""
        verb = "table.batch_remove_members"
        return self._some(
            verb, list(sets), lambda: self._table.batch_remove_members(sets, if_versions)
        )

    def increment(self, pk: str, sk: str, field: str, by: int = 1) -> int:
        """Count and write."""
        return self.counts.write(
            "table.increment", (pk, sk), lambda: self._table.increment(pk, sk, field, by)
        )

    def raise_counter(self, pk: str, sk: str, field: str, at_least: int) -> int:
        """Count and write."""
        return self.counts.write(
            "table.raise_counter",
            (pk, sk),
            lambda: self._table.raise_counter(pk, sk, field, at_least),
        )

    def transact(self, actions: Sequence[Action]) -> None:
        """Count one request, a write unless there are only checks, and carry it out."""
        rows = [action.row if isinstance(action, Put) else action for action in actions]
        keys = [(row.pk, row.sk) for row in rows]
        changes = [action for action in actions if not isinstance(action, Check)]
        count = self.counts.write if changes else self.counts.read
        count("table.transact", keys, lambda: self._table.transact(actions))

    def _some(self, verb: str, keys: list[tuple[str, str]], operation: Callable[[], T]) -> T:
        count = self.counts.write if keys else self.counts.read
        return count(verb, keys, operation)


class CountingQueue(_Counting):
    """A queue that counts; its verbs are ``queue.send`` and so on."""

    def __init__(self, queue: Queue, counts: Counts | None = None) -> None:
        super().__init__(counts)
        self._queue = queue

    def send(self, bodies: Sequence[str], delay_s: int = 0) -> None:
        """Count one write, however many messages, and send."""
        count = self.counts.write if bodies else self.counts.read
        count("queue.send", list(bodies), lambda: self._queue.send(bodies, delay_s))

    def receive(self, limit: int = 10, visibility_s: int = 60) -> Sequence[Message]:
        """Count one read and receive."""
        return self.counts.read(
            "queue.receive", None, lambda: self._queue.receive(limit, visibility_s)
        )

    def ack(self, receipts: Sequence[str]) -> None:
        """Count one write and acknowledge."""
        self.counts.write("queue.ack", list(receipts), lambda: self._queue.ack(receipts))

    def retry_later(self, receipt: str, delay_s: int) -> None:
        """Count one write and put a message back."""
        self.counts.write(
            "queue.retry_later", receipt, lambda: self._queue.retry_later(receipt, delay_s)
        )

    def dead_letters(self, limit: int = 10) -> Sequence[Message]:
        """Count one read and look."""
        return self.counts.read("queue.dead_letters", None, lambda: self._queue.dead_letters(limit))

    def redrive(self) -> int:
        """Count one write and redrive."""
        return self.counts.write("queue.redrive", None, self._queue.redrive)


class CountingStores(Counts):
    """Wraps the stores of a test and counts the requests to all of them."""

    def objects(self, store: ObjectStore) -> CountingObjectStore:
        """Return the store, counted here."""
        return CountingObjectStore(store, self)

    def table(self, table: Table) -> CountingTable:
        """Return the table, counted here."""
        return CountingTable(table, self)

    def queue(self, queue: Queue) -> CountingQueue:
        """Return the queue, counted here."""
        return CountingQueue(queue, self)

    def wrap_ports(self, ports: Ports) -> Ports:
        """Return the stores of a runtime, counted here."""
        return Ports(
            self.objects(ports.objects),
            self.objects(ports.dropped),
            self.table(ports.table),
            lambda name: self.queue(ports.open_queue(name)),
            ports.aside,
            ports.checks,
        )

    def wrap(self, world: World) -> World:
        """Return a dataclass with all its stores counted here, made again with ``replace``.

        Stores are found in its fields, and in those of dataclasses that are its fields.
        """
        counted = {}
        for field in dataclasses.fields(cast("Any", world)):
            value = getattr(world, field.name)
            if field.init and (found := self._counted(value)) is not value:
                counted[field.name] = found
        return (
            cast("World", dataclasses.replace(cast("Any", world), **counted)) if counted else world
        )

    def _counted(self, value: Any) -> Any:
        """Return the value, counted here if it is a store or has some."""
        if isinstance(value, type):
            return value
        if hasattr(value, "presign"):
            return self.objects(value)
        if hasattr(value, "transact"):
            return self.table(value)
        if hasattr(value, "redrive"):
            return self.queue(value)
        return self.wrap(value) if dataclasses.is_dataclass(value) else value
