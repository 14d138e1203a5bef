"""Indexes the cuboids of each label. The index is always a superset of the stored labels.

========================  ======================================  ===============================
pk                        sk                                      row
========================  ======================================  ===============================
``label#U#SS``            ``LABEL#RR#TTTTTTTT#BUCKET``            members: cuboids with the label
``label#U``               ``ids``                                 counters of ``ids``
========================  ======================================  ===============================

U is the channel's uid, LABEL (16), RR (2), TTTTTTTT (8: time) and BUCKET (14) are hexadecimal. A
bucket is 8x8x8 cuboids: the Morton code of a cuboid without its low 9 bits, which are the member.
So a label's cuboids are one query in Morton order, a box of them is a range of it, and a row has at
most 512 members, under 2 KiB as DynamoDB counts (3 bytes a member). No supercuboid spans two
buckets. SS, the label modulo 16, spreads a channel over partitions that can still be enumerated, as
sweeping and deleting require.

``painter`` defines the order in which rows may change.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ndlambda.batches import batched
from ndlambda.errors import (
    InvalidArgumentError,
    PayloadTooLargeError,
    PreconditionFailedError,
    WriteContentionError,
)
from ndlambda.services.support.paging import Key, pages, prefixed, rows_in
from ndlambda.space import grid, morton
from ndlambda.space.box import Box
from ndlambda.stores.ports import MAX_TRANSACTION, Delete, Row, Table

SHARDS = 16
BUCKET_CUBOIDS = 8
BUCKET_BITS = 9

MAX_ROW_BYTES = 4096

Members = Mapping[int, AbstractSet[int]]
"""Label to cuboids of one bucket, given by their low bits."""

_LOW = (1 << BUCKET_BITS) - 1
_MEMBER_BYTES = 3
_VERSION_BYTES = 11
_REST_BYTES = len("pkskversionmembers") + _VERSION_BYTES + _MEMBER_BYTES * (_LOW + 1)
_MAX_BUCKETS_FETCHED = 100
_PAGE = 500
_LAST_BUCKET = (1 << 63 - BUCKET_BITS) - 1


@dataclass(frozen=True, slots=True)
class LabelLayer:
    """One resolution of a channel at one time point."""

    uid: str
    resolution: int
    time_point: int


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One row: the cuboids of a label in one bucket, as of a version."""

    scope: LabelLayer
    label: int
    bucket: int
    members: AbstractSet[int]
    version: int

    @property
    def key(self) -> Key:
        """The key of the row."""
        return entry_key(self.scope, self.label, self.bucket)

    @property
    def codes(self) -> list[int]:
        """The Morton codes of the cuboids, ascending."""
        return [self.bucket << BUCKET_BITS | member for member in sorted(self.members)]

    @classmethod
    def from_row(cls, row: Row) -> "IndexRow":
        """Return the entry of a row."""
        label, resolution, time_point, bucket = (int(part, 16) for part in row.sk.split("#"))
        scope = LabelLayer(row.pk.split("#")[1], resolution, time_point)
        return cls(scope, label, bucket, row.members, row.version)


def partition(uid: str, shard: int) -> str:
    """Return the partition of the labels equal to ``shard`` modulo ``SHARDS``."""
    return f"label#{uid}#{shard:02x}"


def entry_key(scope: LabelLayer, label: int, bucket: int) -> Key:
    """Return the key of a row."""
    return (
        partition(scope.uid, label % SHARDS),
        f"{label:016x}#{scope.resolution:02x}#{scope.time_point:08x}#{bucket:014x}",
    )


def split(code: int) -> tuple[int, int]:
    """Return the bucket and the member of a cuboid's Morton code."""
    return code >> BUCKET_BITS, code & _LOW


class LabelIndex:
    """The index of all channels.

    Parameters
    ----------
    table
        The store of rows.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    # changing

    def versions(self, scope: LabelLayer, bucket: int, labels: AbstractSet[int]) -> dict[int, int]:
        """Return the version of each label's row of a bucket; labels without a row are omitted."""
        keys = {entry_key(scope, label, bucket): label for label in labels}
        found = self._table.batch_get(list(keys)) if keys else {}
        return {keys[key]: row.version for key, row in found.items()}

    def add(self, scope: LabelLayer, bucket: int, members: Members) -> None:
        """Add cuboids of a bucket to labels, unconditionally.

        Raises
        ------
        InvalidArgumentError
            A member is out of range.
        PayloadTooLargeError
            A row could exceed ``MAX_ROW_BYTES``.
        """
        sets = {entry_key(scope, label, bucket): cuboids for label, cuboids in members.items()}
        for key, cuboids in sets.items():
            _check_row(key, cuboids)
        if sets:
            self._table.batch_add_members(sets)

    def remove_if(
        self, scope: LabelLayer, bucket: int, members: Members, versions: Mapping[int, int]
    ) -> None:
        """Remove cuboids of a bucket from labels whose rows still have the given versions."""
        keys = {label: entry_key(scope, label, bucket) for label in members if label in versions}
        if keys:
            self._table.batch_remove_members(
                {key: members[label] for label, key in keys.items()},
                {key: versions[label] for label, key in keys.items()},
            )

    def remove_stale(self, stale: Sequence[tuple[IndexRow, AbstractSet[int]]]) -> list[IndexRow]:
        """Remove cuboids from rows, or rows of which none is left; return rows that have changed.

        Those stay as they are. Rows without cuboids are removed up to ``MAX_TRANSACTION`` at once.
        """
        changed = [
            entry
            for entry, members in stale
            if members < entry.members
            and not self._table.remove_members(*entry.key, members, entry.version)
        ]
        empty = [entry for entry, members in stale if not members < entry.members]
        for some in batched(empty, MAX_TRANSACTION):
            changed += self._delete_unchanged(some)
        return changed

    def _delete_unchanged(self, entries: Sequence[IndexRow]) -> list[IndexRow]:
        """Delete the rows that still have their version, and return the others."""
        left, changed = list(entries), list[IndexRow]()
        while left:
            try:
                self._table.transact([Delete(*entry.key, entry.version) for entry in left])
            except PreconditionFailedError as error:
                changed += [left[number] for number in error.details["failed"]]
                left = [entry for entry in left if entry not in changed]
            except WriteContentionError:
                return [*changed, *left]
            else:
                break
        return changed

    # reading

    def entries(self, uid: str) -> Iterator[Sequence[IndexRow]]:
        """Iterate over the rows of a channel, at all resolutions and times.

        Rows of returned pages may be changed or deleted during the iteration.
        """
        for shard in range(SHARDS):
            for page in pages(self._table, partition(uid, shard)):
                yield [IndexRow.from_row(row) for row in page]

    def has(self, uid: str, label: int) -> bool:
        """Return whether any cuboid of a channel, at any resolution and time, may hold a label."""
        return any(entry.members for page in self.entries_of(uid, [label]) for entry in page)

    def labels_after(self, uid: str, shard: int, after: int) -> tuple[list[int], int | None]:
        """Return some labels of a shard that are greater than a label, by one query.

        Returns
        -------
        labels
            Ascending; those that cuboids may hold.
        last
            The label after which to continue; None: there are no more in the shard.
        """
        pk, first = partition(uid, shard), f"{after:016x}~"
        found: dict[int, bool] = {}
        for row in next(pages(self._table, pk, first, size=_PAGE), ()):
            entry = IndexRow.from_row(row)
            found[entry.label] = found.get(entry.label, False) or bool(entry.members)
        last = next(reversed(found), None)
        if last is not None and not found[last]:  # the page may end amid its rows
            found[last] = self.has(uid, last)
        return [label for label, held in found.items() if held], last

    def entries_of(
        self, uid: str, labels: Collection[int], skip: AbstractSet[int] = frozenset()
    ) -> Iterator[Sequence[IndexRow]]:
        """Iterate over the rows of some labels, at all resolutions and times.

        Labels that lie close together are read by one query a shard, as ids that were issued
        together do; where ``_PAGE`` rows of others lie between two, by one query each. Rows of
        returned pages may be changed or deleted during the iteration.

        Parameters
        ----------
        uid, labels
            The channel and the labels.
        skip
            Labels of which no more rows are needed; may grow during the iteration.
        """
        shards: dict[int, list[int]] = {}
        for label in sorted(set(labels)):
            shards.setdefault(label % SHARDS, []).append(label)
        for shard, wanted in shards.items():
            yield from self._entries_of(partition(uid, shard), wanted, skip)

    def _entries_of(
        self, pk: str, wanted: Sequence[int], skip: AbstractSet[int]
    ) -> Iterator[Sequence[IndexRow]]:
        _, last = prefixed(f"{wanted[-1]:016x}#")
        left, among = deque(wanted), frozenset(wanted)
        cursor: str | None = None
        while left:
            first = f"{left[0]:016x}#"
            page = self._table.query(pk, first=first, last=last, limit=_PAGE, cursor=cursor)
            entries = [IndexRow.from_row(row) for row in page.rows]
            if found := [entry for entry in entries if entry.label in among]:
                yield found
            if page.cursor is None:
                return
            cursor = page.cursor
            reached = entries[-1].label if entries else left[0]
            while left and (left[0] < reached or left[0] in skip):
                left.popleft()
            if left and left[0] > reached:
                cursor = None

    def cuboids(
        self, scope: LabelLayer, label: int, cells: Box | None = None
    ) -> NDArray[np.uint64]:
        """Return the Morton codes of cuboids that may hold a label, ascending.

        Parameters
        ----------
        scope, label
            The label.
        cells
            A box of cuboid indices to which the result is restricted; None: no restriction.
        """
        codes = np.array(
            [code for entry in self._find(scope, label, cells) for code in entry.codes], np.uint64
        )
        if cells is None:
            return codes
        index = morton.decode_codes(codes)
        inside = (index >= cells.start_xyz).all(axis=1) & (index < cells.stop_xyz).all(axis=1)
        return codes[inside]

    def _find(self, scope: LabelLayer, label: int, cells: Box | None) -> list[IndexRow]:
        first, last = 0, _LAST_BUCKET
        if cells is not None:
            buckets = grid.cell_range(cells, (BUCKET_CUBOIDS,) * 3)
            if buckets.voxels <= _MAX_BUCKETS_FETCHED:
                return self._get(scope, label, buckets)
            # Morton codes increase along each axis, so the corners bound the codes of a box.
            first, last = (
                morton.encode(*corner)
                for corner in (buckets.start_xyz, [stop - 1 for stop in buckets.stop_xyz])
            )
        pk, first_sk = entry_key(scope, label, first)
        _, last_sk = entry_key(scope, label, last)
        return list(map(IndexRow.from_row, rows_in(self._table, pk, first_sk, last_sk)))

    def _get(self, scope: LabelLayer, label: int, buckets: Box) -> list[IndexRow]:
        ranges = (range(*ends) for ends in zip(buckets.start_xyz, buckets.stop_xyz, strict=True))
        codes = sorted(morton.encode(*index) for index in product(*ranges))
        keys = [entry_key(scope, label, code) for code in codes]
        found = self._table.batch_get(keys)
        return [IndexRow.from_row(found[key]) for key in keys if key in found]


def _check_row(key: Key, members: AbstractSet[int]) -> None:
    """Refuse members that could make a row exceed ``MAX_ROW_BYTES``, whatever it holds already.

    A set of numbers under 512 has at most 512 of them, 3 bytes each as DynamoDB counts.
    """
    if members and not 0 <= min(members) <= max(members) <= _LOW:
        raise InvalidArgumentError(f"Members of a bucket are 0 to {_LOW}.", limit=_LOW)
    if sum(map(len, key)) + _REST_BYTES > MAX_ROW_BYTES:
        raise PayloadTooLargeError(
            f"An index row of {key[0]!r} could exceed {MAX_ROW_BYTES} bytes.",
            limit=MAX_ROW_BYTES,
        )
