"""The three ports in memory: fast stores for simulations and tests, that keep nothing.

They pass the contract suites. Thread-safe.
"""

import json
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count, islice, takewhile
from threading import RLock
from typing import Any, Literal

from sortedcontainers import SortedDict

from ndlambda.errors import InvalidArgumentError, PayloadTooLargeError, PreconditionFailedError
from ndlambda.stores.cursors import decode_cursor, encode_cursor
from ndlambda.stores.limits import check_actions, check_bodies, check_page_size, key_of
from ndlambda.stores.ports import (
    MAX_ROW_BYTES,
    Action,
    ByteRange,
    Create,
    Delete,
    Expectation,
    Message,
    ObjectInfo,
    Page,
    Put,
    PutMode,
    Replace,
    Row,
    StoredObject,
    Suffix,
)

_PAGE_ROWS = 500
_MAX_RECEIVE = 10
_NEVER = -1.0
_LARGEST_MEMBER = 2**64 - 1


class MemoryObjectStore:
    """An ``ObjectStore`` of bytes."""

    def __init__(self) -> None:
        self._objects: Any = SortedDict()  # by key: bytes and ETag
        self._lock = RLock()

    @property
    def whole_reads_are_cheap(self) -> bool:
        """False, as on S3: ranges are asked for."""
        return False

    def get(
        self, key: str, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> StoredObject | None:
        """Read an object or a range of it; None if there is none."""
        data, etag = self._objects.get(key, (None, None))
        if if_match not in {None, etag}:
            raise PreconditionFailedError("The object has changed or is gone.", key=key)
        if data is None or etag is None:
            return None
        view = memoryview(data)
        if isinstance(byte_range, Suffix):
            view = view[max(0, len(data) - byte_range.length) :]
        elif byte_range is not None:
            view = view[byte_range.start : byte_range.stop]
        return StoredObject(view, etag, len(data))

    def put(self, key: str, data: bytes | memoryview, mode: PutMode) -> str:
        """Write an object and return its ETag."""
        _check_key(key)
        with self._lock:
            present = self._objects.get(key)
            if isinstance(mode, Create) and present is not None:
                raise PreconditionFailedError("There is an object already.", key=key)
            if isinstance(mode, Replace) and (present is None or present[1] != mode.etag):
                raise PreconditionFailedError("The object has changed or is gone.", key=key)
            content = bytes(data)
            etag = f'"{hash(content):x}-{len(content):x}"'
            self._objects[key] = content, etag
            return etag

    def delete(self, key: str) -> None:
        """Remove an object; no error if there is none."""
        self.delete_many([key])

    def delete_many(self, keys: Sequence[str]) -> None:
        """Remove objects; none if one of the keys cannot be one."""
        checked = [_check_key(key) for key in keys]
        with self._lock:
            for key in checked:
                self._objects.pop(key, None)

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Iterate in key order over the objects whose keys start with prefix and are > after."""
        while True:
            with self._lock:
                first = max(prefix, after)
                keys = self._objects.irange(first, inclusive=(first != after, True))
                page = list(islice(takewhile(lambda key: key.startswith(prefix), keys), 1000))
                found = [(key, *self._objects[key]) for key in page]
            for key, data, etag in found:
                yield ObjectInfo(key, len(data), etag)
            if len(found) < 1000:
                return
            after = page[-1]

    def presign(
        self,
        verb: Literal["get", "put"],
        key: str,
        expires_s: int,
        size_bytes: int | None = None,
    ) -> str | None:
        """Return None: memory has no URL."""
        del verb, key, expires_s, size_bytes
        return None


class MemoryTable:
    """A ``Table`` of rows.

    Parameters
    ----------
    clock
        Unix seconds, by which rows expire.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._rows: Any = defaultdict(SortedDict)  # by partition key, then by sort key
        self._versions = count(1)
        self._lock = RLock()

    def get(self, pk: str, sk: str) -> Row | None:
        """Read one row."""
        row = self._rows[pk].get(sk) if pk in self._rows else None
        return row if row is not None and self._is_alive(row) else None

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
        """Read many rows; absent ones are left out."""
        with self._lock:
            return {key: row for key in keys if (row := self.get(*key)) is not None}

    def query(
        self,
        pk: str,
        *,
        first: str = "",
        last: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page:
        """Read rows of a partition with ``first <= sk <= last``, at most 500 a page."""
        check_page_size(limit)
        size = min(limit or _PAGE_ROWS, _PAGE_ROWS)
        start = first if cursor is None else decode_cursor(cursor)
        with self._lock:
            found: list[Row] = []
            for sk in self._rows[pk].irange(start, last):
                if len(found) == size:
                    return Page(found, encode_cursor(sk))
                if self._is_alive(row := self._rows[pk][sk]):
                    found.append(row)
        return Page(found, None)

    def put(self, row: Row, expect: Expectation = "any") -> int:
        """Write doc, members and expires and return the new version."""
        return self._execute([Put(row, expect)])

    def delete(self, pk: str, sk: str, expect: Expectation = "any") -> None:
        """Remove a row."""
        self._execute([Delete(pk, sk, expect)])

    def add_members(self, pk: str, sk: str, members: AbstractSet[int]) -> int:
        """Add members to the row's set, creating an absent row; return the new version."""
        with self._lock:
            row = self.get(pk, sk) or Row(pk, sk)
            return self._write(_checked(replace(row, members=row.members | members)))

    def batch_add_members(self, sets: Mapping[tuple[str, str], AbstractSet[int]]) -> None:
        """Add members to many rows, by key."""
        for key, members in sets.items():
            self.add_members(*key, members)

    def remove_members(self, pk: str, sk: str, members: AbstractSet[int], if_version: int) -> bool:
        """Remove members from the row's set if the row has this version; False if it has not."""
        with self._lock:
            row = self.get(pk, sk)
            if row is None or row.version != if_version:
                return False
            self._write(replace(row, members=row.members - members))
            return True

    def batch_remove_members(
        self,
        sets: Mapping[tuple[str, str], AbstractSet[int]],
        if_versions: Mapping[tuple[str, str], int],
    ) -> int:
        """Remove members from many rows, by key; return how many had their version."""
        return sum(
            self.remove_members(*key, members, if_versions.get(key, 0))
            for key, members in sets.items()
        )

    def increment(self, pk: str, sk: str, field: str, by: int = 1) -> int:
        """Add to one of the row's counters, creating row and counter if absent; return the sum."""
        with self._lock:
            row = self.get(pk, sk) or Row(pk, sk)
            value = row.counters.get(field, 0) + by
            self._write(_checked(replace(row, counters={**row.counters, field: value})))
            return value

    def raise_counter(self, pk: str, sk: str, field: str, at_least: int) -> int:
        """Raise one of the row's counters to a value if it is smaller; return its value."""
        with self._lock:
            row = self.get(pk, sk) or Row(pk, sk)
            value = row.counters.get(field)
            if value is not None and value >= at_least:
                return value
            self._write(_checked(replace(row, counters={**row.counters, field: at_least})))
            return at_least

    def transact(self, actions: Sequence[Action]) -> None:
        """Execute all actions or none."""
        check_actions(actions)
        self._execute(actions)

    def _execute(self, actions: Sequence[Action]) -> int:
        """Execute all actions or none; return the version of the last put (0: no put)."""
        version = 0
        with self._lock:
            present = [self.get(*key_of(action)) for action in actions]
            failed = [
                index
                for index, (action, row) in enumerate(zip(actions, present, strict=True))
                if not _holds(action.expect, row)
            ]
            if failed:
                raise PreconditionFailedError("A row is not as expected.", failed=failed)
            puts = [
                _checked(replace(action.row, counters=row.counters if row else {}))
                for action, row in zip(actions, present, strict=True)
                if isinstance(action, Put)
            ]
            for row in puts:
                version = self._write(row)
            for action in actions:
                if isinstance(action, Delete):
                    self._remove(action.pk, action.sk)
        return version

    def _is_alive(self, row: Row) -> bool:
        return row.expires is None or row.expires > int(self._clock())

    def _write(self, row: Row) -> int:
        version = next(self._versions)
        doc = json.loads(json.dumps(dict(row.doc))) if row.doc else {}
        members = frozenset(row.members)
        self._rows[row.pk][row.sk] = replace(row, doc=doc, members=members, version=version)
        return version

    def _remove(self, pk: str, sk: str) -> None:
        self._rows[pk].pop(sk, None)


@dataclass
class _Sent:
    id: str
    body: str
    visible_at: float
    receipt: str = ""
    receive_count: int = 0


class MemoryQueue:
    """A ``Queue`` of messages, with the semantics of SQS.

    Parameters
    ----------
    clock
        Unix seconds, by which messages become visible.
    max_receives
        Deliveries after which a message goes to the dead-letter list.
    """

    def __init__(self, clock: Callable[[], float] = time.time, max_receives: int = 5) -> None:
        self._clock = clock
        self._max_receives = max_receives
        self._due: list[tuple[float, int, _Sent]] = []
        self._received: dict[str, _Sent] = {}
        self._dead: list[_Sent] = []
        self._numbers = count()
        self._lock = RLock()

    def send(self, bodies: Sequence[str], delay_s: int = 0) -> None:
        """Send messages, visible after the delay."""
        check_bodies(bodies)
        with self._lock:
            for body in bodies:
                self._show(_Sent(uuid.uuid4().hex, body, 0.0), delay_s)

    def receive(self, limit: int = 10, visibility_s: int = 60) -> Sequence[Message]:
        """Receive up to ``limit`` (at most 10) visible messages, the longest visible first."""
        taken: list[_Sent] = []
        with self._lock:
            now = self._clock()
            while self._due and self._due[0][0] <= now and len(taken) < min(limit, _MAX_RECEIVE):
                visible_at, _, sent = heappop(self._due)
                if visible_at != sent.visible_at:
                    continue  # acknowledged, or shown at another time
                self._received.pop(sent.receipt, None)
                if sent.receive_count >= self._max_receives:
                    self._dead.append(sent)
                    continue
                sent.receipt = uuid.uuid4().hex
                sent.receive_count += 1
                self._received[sent.receipt] = sent
                taken.append(sent)
            for sent in taken:
                self._show(sent, visibility_s)
            return [Message(sent.id, sent.receipt, sent.body, sent.receive_count) for sent in taken]

    def ack(self, receipts: Sequence[str]) -> None:
        """Remove messages; unknown or outdated receipts are no error."""
        with self._lock:
            for receipt in receipts:
                if receipt in self._received:
                    self._received.pop(receipt).visible_at = _NEVER

    def retry_later(self, receipt: str, delay_s: int) -> None:
        """Make a received message visible again after the delay; outdated receipts do nothing."""
        with self._lock:
            if receipt in self._received:
                self._show(self._received[receipt], delay_s)

    def dead_letters(self, limit: int = 10) -> Sequence[Message]:
        """Return messages that failed too often, without consuming them; receipts are empty."""
        return [Message(sent.id, "", sent.body, sent.receive_count) for sent in self._dead[:limit]]

    def redrive(self) -> int:
        """Send all dead letters back to the queue and return their number."""
        with self._lock:
            dead, self._dead = self._dead, []
            for sent in dead:
                self._show(replace(sent, receive_count=0, receipt=""), 0)
            return len(dead)

    def _show(self, sent: _Sent, delay_s: float) -> None:
        sent.visible_at = self._clock() + delay_s
        heappush(self._due, (sent.visible_at, next(self._numbers), sent))


def _holds(expect: Expectation, row: Row | None) -> bool:
    if expect == "any":
        return True
    if expect == "absent":
        return row is None
    return row is not None and row.version == expect


def _check_key(key: str) -> str:
    if any(name in {"", ".", ".."} for name in key.split("/")) or "\0" in key:
        raise InvalidArgumentError(f"The key {key!r} cannot name an object.", key=key)
    return key


def _checked(row: Row) -> Row:
    """Return a row that may be stored."""
    if not row.pk or not row.sk:
        raise InvalidArgumentError("A row's keys must not be empty.", pk=row.pk, sk=row.sk)
    try:
        doc = json.dumps(dict(row.doc), ensure_ascii=False, allow_nan=False) if row.doc else "{}"
        size = len(f"{row.pk}{row.sk}{doc}".encode()) + 8 * len(row.members)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"The row cannot be stored: {error}.") from error
    if not all(0 <= member <= _LARGEST_MEMBER for member in row.members):
        raise InvalidArgumentError("A member is not an unsigned 64-bit integer.")
    if size > MAX_ROW_BYTES:
        raise PayloadTooLargeError(
            f"The row has {size} bytes; at most {MAX_ROW_BYTES} are kept in one.",
            limit=MAX_ROW_BYTES,
        )
    return row
