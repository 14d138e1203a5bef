"""The three storage ports: ObjectStore, Table and Queue.

Each has a contract suite in ``ndlambda.testing`` that every adapter runs. Adapters translate their
back end's errors to ours: a failed condition is ``PreconditionFailedError``, throttling
``UpstreamThrottledError``, a time-out ``UpstreamTimeoutError``, anything else ``UpstreamError``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

# --- objects -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes ``start <= i < stop`` of an object; a stop beyond its end is clipped."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Suffix:
    """The last ``length`` bytes of an object (all of a shorter one)."""

    length: int


ByteRange: TypeAlias = Range | Suffix


@dataclass(frozen=True, slots=True)
class Overwrite:
    """Unconditional write."""


@dataclass(frozen=True, slots=True)
class Create:
    """Write only if there is no object (``If-None-Match: *``)."""


@dataclass(frozen=True, slots=True)
class Replace:
    """Write only over the object with this ETag (``If-Match: etag``)."""

    etag: str


PutMode: TypeAlias = Overwrite | Create | Replace


class StoredObject:
    """An object, or a range of it, as read; immutable.

    Parameters
    ----------
    data
        The requested bytes, read-only.
    etag
        Identifies the content of the whole object, also if a range was read. A store that must
        compute it passes a function, which is called when ``etag`` is first read.
    size
        Length of the whole object in bytes.
    """

    __slots__ = ("_data", "_etag", "_size")

    def __init__(self, data: memoryview, etag: str | Callable[[], str], size: int) -> None:
        self._data = data
        self._etag = etag
        self._size = size

    @property
    def data(self) -> memoryview:
        """The requested bytes, read-only."""
        return self._data

    def part(self, start: int, stop: int) -> memoryview:
        """Return some of the requested bytes, fewer where they end before."""
        return self.data[start:stop]

    @property
    def etag(self) -> str:
        """The identifier of the whole object's content."""
        if not isinstance(self._etag, str):
            self._etag = self._etag()
        return self._etag

    @property
    def size(self) -> int:
        """Length of the whole object in bytes."""
        return self._size


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One line of a listing: key and length in bytes.

    Attributes
    ----------
    etag
        As of a read; None if the store would have to read the object.
    modified_at
        Unix seconds of the last put, perhaps rounded down to whole ones; None of stores that keep
        none.
    """

    key: str
    size: int
    etag: str | None = None
    modified_at: float | None = None


class ObjectStore(Protocol):
    """Whole objects under ``/``-separated keys, with conditional replacement.

    No key may be the directory of another (``a`` beside ``a/b``): files cannot hold both.
    """

    @property
    def whole_reads_are_cheap(self) -> bool:
        """Whether a whole read costs no more than the parts then asked for (an opened file).

        If False, readers ask for the ranges that they need.
        """
        ...

    def get(
        self, key: str, byte_range: ByteRange | None = None, *, if_match: str | None = None
    ) -> StoredObject | None:
        """Read an object or a range of it; None if there is none.

        Raises
        ------
        PreconditionFailedError
            ``if_match`` was given and the object has another ETag now (or is gone).
        """
        ...

    def put(self, key: str, data: bytes | memoryview, mode: PutMode) -> str:
        """Write an object atomically and durably and return its ETag.

        Raises
        ------
        PreconditionFailedError
            ``Create`` found an object, or ``Replace`` found another ETag or none.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object; no error if there is none."""
        ...

    def delete_many(self, keys: Sequence[str]) -> None:
        """Remove objects, ``MAX_DELETED`` a request; all are tried, an error names the first."""
        ...

    def list(self, prefix: str, after: str = "") -> Iterator[ObjectInfo]:
        """Iterate in key order over the objects whose keys start with prefix and are > after."""
        ...

    def presign(
        self,
        verb: Literal["get", "put"],
        key: str,
        expires_s: int,
        size_bytes: int | None = None,
    ) -> str | None:
        """Return a URL that reads or writes the object without credentials; None: it has no URLs.

        Parameters
        ----------
        size_bytes
            A put of any other length is refused; None accepts every length.
        """
        ...


# --- rows ----------------------------------------------------------------------------------

MAX_DELETED = 1000
MAX_ROW_BYTES = 64 * 1024
MAX_TRANSACTION = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes
    ----------
    pk, sk
        Partition and sort key; a query lists one partition in sort-key order (UTF-8 bytes).
    doc
        A JSON object.
    members
        A set of non-negative integers, at most 64 bits each.
    counters
        Integers that ``increment`` adds to; ``put`` leaves them as they are.
    version
        Changes with every change of the row and is never reused for the same keys, not even if the
        row is deleted and created again. 0 in a row not stored yet.
    expires
        Unix seconds after which the row expires; None keeps it.
    """

    pk: str
    sk: str
    doc: Mapping[str, Any] = field(default_factory=dict)
    members: AbstractSet[int] = frozenset()
    counters: Mapping[str, int] = field(default_factory=dict)
    version: int = 0
    expires: int | None = None


Expectation: TypeAlias = int | Literal["absent", "any"]
"""The condition of a write: the row has this version, is absent, or either."""


@dataclass(frozen=True, slots=True)
class Put:
    """Write a row's doc, members and expires if the expectation holds."""

    row: Row
    expect: Expectation = "any"


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a row if the expectation holds (``"any"``: also if it is absent)."""

    pk: str
    sk: str
    expect: Expectation = "any"


@dataclass(frozen=True, slots=True)
class Check:
    """Change nothing, but fail the transaction unless the expectation holds."""

    pk: str
    sk: str
    expect: Expectation


Action: TypeAlias = Put | Delete | Check


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one partition in sort-key order and the cursor of the next page (None: no more)."""

    rows: Sequence[Row]
    cursor: str | None


class Table(Protocol):
    """Rows with optimistic versions. No scans, no secondary indexes."""

    def get(self, pk: str, sk: str) -> Row | None:
        """Read one row, strongly consistent."""
        ...

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
        """Read many rows, strongly consistent; absent ones are left out."""
        ...

    def query(
        self,
        pk: str,
        *,
        first: str = "",
        last: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page:
        """Read rows of a partition with ``first <= sk <= last``, strongly consistent.

        A page has at most ``limit`` rows (or fewer, as the store decides); continue with its cursor
        until that is None.
        """
        ...

    def put(self, row: Row, expect: Expectation = "any") -> int:
        """Write doc, members and expires and return the new version.

        ``row.version`` and ``row.counters`` are ignored.

        Raises
        ------
        PreconditionFailedError
            The expectation does not hold.
        PayloadTooLargeError
            The row is over ``MAX_ROW_BYTES``.
        """
        ...

    def delete(self, pk: str, sk: str, expect: Expectation = "any") -> None:
        """Remove a row.

        Raises
        ------
        PreconditionFailedError
            The expectation does not hold.
        """
        ...

    def add_members(self, pk: str, sk: str, members: AbstractSet[int]) -> int:
        """Add members to the row's set, creating an absent row; return the new version.

        Atomic and idempotent.

        Raises
        ------
        PayloadTooLargeError
            The row would be over ``MAX_ROW_BYTES``, or (in some stores) set or doc over half.
        """
        ...

    def batch_add_members(self, sets: Mapping[tuple[str, str], AbstractSet[int]]) -> None:
        """Add members to many rows, by key; atomic for each row, not together."""
        ...

    def remove_members(self, pk: str, sk: str, members: AbstractSet[int], if_version: int) -> bool:
        """Remove members from the row's set if the row has this version; False if it has not.

        A row with an empty set stays.
        """
        ...

    def batch_remove_members(
        self,
        sets: Mapping[tuple[str, str], AbstractSet[int]],
        if_versions: Mapping[tuple[str, str], int],
    ) -> int:
        """Remove members from many rows, if they have these versions; return the number changed."""
        ...

    def increment(self, pk: str, sk: str, field: str, by: int = 1) -> int:
        """Add to one of the row's counters (0 if absent), atomically, and return the new value."""
        ...

    def raise_counter(self, pk: str, sk: str, field: str, at_least: int) -> int:
        """Raise one of the row's counters to a value if it is smaller; return its value.

        Atomic and idempotent. A row with a larger counter does not change.
        """
        ...

    def transact(self, actions: Sequence[Action]) -> None:
        """Execute all actions or none; at most ``MAX_TRANSACTION``, each on another row.

        Raises
        ------
        PreconditionFailedError
            An expectation does not hold; ``details["failed"]`` lists the indexes of such actions.
        WriteContentionError
            Concurrent transactions kept conflicting.
        """
        ...


# --- messages ------------------------------------------------------------------------------

MAX_MESSAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Message:
    """A received message.

    Attributes
    ----------
    id
        Identifies the message over all its deliveries.
    receipt
        Identifies this delivery, for ``ack`` and ``retry_later``.
    body
        The text that was sent.
    receive_count
        1 at the first delivery.
    """

    id: str
    receipt: str
    body: str
    receive_count: int


class Queue(Protocol):
    """At-least-once messages that wake workers; the table holds the state.

    A message that is received but not acknowledged is redelivered after its visibility time; after
    ``max_receives`` deliveries (a property of the queue, 5 unless set) it goes to the
    dead-letter list instead.
    """

    def send(self, bodies: Sequence[str], delay_s: int = 0) -> None:
        """Send messages, each at most ``MAX_MESSAGE_BYTES`` long, visible after the delay.

        Raises
        ------
        PayloadTooLargeError
            A body is too long; nothing was sent.
        """
        ...

    def receive(self, limit: int = 10, visibility_s: int = 60) -> Sequence[Message]:
        """Receive up to ``limit`` (at most 10) visible messages, without waiting."""
        ...

    def ack(self, receipts: Sequence[str]) -> None:
        """Remove messages; unknown or outdated receipts are no error."""
        ...

    def retry_later(self, receipt: str, delay_s: int) -> None:
        """Make a received message visible again after the delay."""
        ...

    def dead_letters(self, limit: int = 10) -> Sequence[Message]:
        """Return messages that failed too often, without consuming them."""
        ...

    def redrive(self) -> int:
        """Send all dead letters back to the queue and return their number."""
        ...
