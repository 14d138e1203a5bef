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
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal, TypeVar, cast

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
from ndlambda.testing.counts import (
    Counts,
    members_bytes,
    messages_moved,
    no_items,
    row_bytes,
    rows_moved,
    some,
)

World = TypeVar("World")

_LISTED = 1000
"""Lines of one answer of S3."""


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
            "objects.get",
            key,
            lambda: self._store.get(key, byte_range, if_match=if_match),
            lambda found: (1, 0 if found is None else len(found.data)),
        )

    def put(self, key: str, data: bytes | memoryview, mode: PutMode) -> str:
        """Count and write."""
        return self.counts.write(
            "objects.put", key, lambda: self._store.put(key, data, mode), size_bytes=len(data)
        )

    def delete(self, key: str) -> None:
        """Count and delete."""
        self.counts.write("objects.delete", key, lambda: self._store.delete(key))

    def delete_many(self, keys: Sequence[str]) -> None:
        """Count one write, if there is anything to delete, and delete."""
        verb = "objects.delete_many"
        some(self.counts, verb, list(keys), lambda: self._store.delete_many(keys))

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Count one read for every 1000 lines, as S3 answers, and list."""
        verb = "objects.list"
        found = self.counts.read(verb, prefix, lambda: self._store.list(prefix, after), no_items)
        return self._counted_lines(verb, prefix, found)

    def _counted_lines(
        self, verb: str, prefix: str, found: Iterator[ObjectInfo]
    ) -> Iterator[ObjectInfo]:
        for number, info in enumerate(found):
            if number and number % _LISTED == 0:
                self.counts.add(verb, prefix, reads=1)
            self.counts.move(verb, 1, 0)
            yield info

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
        return self.counts.read(
            "table.get", (pk, sk), lambda: self._table.get(pk, sk), lambda row: (1, row_bytes(row))
        )

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
        """Count and read."""
        return self.counts.read(
            "table.batch_get",
            list(keys),
            lambda: self._table.batch_get(keys),
            lambda found: (len(keys), rows_moved(found.values())[1]),
        )

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
            lambda page: rows_moved(page.rows),
        )

    def put(self, row: Row, expect: Expectation = "any") -> int:
        """Count and write."""
        return self.counts.write(
            "table.put",
            (row.pk, row.sk),
            lambda: self._table.put(row, expect),
            size_bytes=row_bytes(row),
        )

    def delete(self, pk: str, sk: str, expect: Expectation = "any") -> None:
        """Count and delete."""
        self.counts.write("table.delete", (pk, sk), lambda: self._table.delete(pk, sk, expect))

    def add_members(self, pk: str, sk: str, members: AbstractSet[int]) -> int:
        """Count and write."""
        return self.counts.write(
            "table.add_members",
            (pk, sk),
            lambda: self._table.add_members(pk, sk, members),
            size_bytes=members_bytes(members),
        )

    def batch_add_members(self, sets: Mapping[tuple[str, str], AbstractSet[int]]) -> None:
        """Count one write, if there is anything to add, and write."""
        verb = "table.batch_add_members"
        size_bytes = sum(map(members_bytes, sets.values()))
        some(self.counts, verb, list(sets), lambda: self._table.batch_add_members(sets), size_bytes)

    def remove_members(self, pk: str, sk: str, members: AbstractSet[int], if_version: int) -> bool:
        """Count and write."""
        return self.counts.write(
            "table.remove_members",
            (pk, sk),
            lambda: self._table.remove_members(pk, sk, members, if_version),
            size_bytes=members_bytes(members),
        )

    def batch_remove_members(
        self,
        sets: Mapping[tuple[str, str], AbstractSet[int]],
        if_versions: Mapping[tuple[str, str], int],
    ) -> int:
        """Count one write, if there is anything to remove, and write."""
        verb = "table.batch_remove_members"
        return some(
            self.counts,
            verb,
            list(sets),
            lambda: self._table.batch_remove_members(sets, if_versions),
            sum(map(members_bytes, sets.values())),
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
        size_bytes = sum(row_bytes(action.row) for action in actions if isinstance(action, Put))
        is_read = all(isinstance(action, Check) for action in actions)

        def operation() -> None:
            self._table.transact(actions)

        if is_read:
            self.counts.read("table.transact", keys, operation, lambda _: (len(keys), 0))
        else:
            self.counts.write("table.transact", keys, operation, len(keys), size_bytes)


class CountingQueue(_Counting):
    """A queue that counts; its verbs are ``queue.send`` and so on."""

    def __init__(self, queue: Queue, counts: Counts | None = None) -> None:
        super().__init__(counts)
        self._queue = queue

    def send(self, bodies: Sequence[str], delay_s: int = 0) -> None:
        """Count one write, however many messages, and send."""
        size_bytes = sum(map(len, bodies))
        some(
            self.counts,
            "queue.send",
            list(bodies),
            lambda: self._queue.send(bodies, delay_s),
            size_bytes,
        )

    def receive(self, limit: int = 10, visibility_s: int = 60) -> Sequence[Message]:
        """Count one read and receive."""
        return self.counts.read(
            "queue.receive",
            None,
            lambda: self._queue.receive(limit, visibility_s),
            messages_moved,
        )

    def ack(self, receipts: Sequence[str]) -> None:
        """Count one write and acknowledge."""
        self.counts.write(
            "queue.ack", list(receipts), lambda: self._queue.ack(receipts), len(receipts)
        )

    def retry_later(self, receipt: str, delay_s: int) -> None:
        """Count one write and put a message back."""
        self.counts.write(
            "queue.retry_later", receipt, lambda: self._queue.retry_later(receipt, delay_s)
        )

    def dead_letters(self, limit: int = 10) -> Sequence[Message]:
        """Count one read and look."""
        return self.counts.read(
            "queue.dead_letters", None, lambda: self._queue.dead_letters(limit), messages_moved
        )

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
