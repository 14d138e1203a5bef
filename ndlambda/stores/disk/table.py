"""Table on SQLite."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ndlambda.batches import batched
from ndlambda.errors import PreconditionFailedError
from ndlambda.stores.cursors import decode_cursor, encode_cursor
from ndlambda.stores.disk.database import Database
from ndlambda.stores.disk.rows import decode_row, encode_row
from ndlambda.stores.limits import check_actions, check_page_size, key_of
from ndlambda.stores.ports import Action, Check, Delete, Expectation, Page, Put, Row

_PAGE_ROWS = 500
_EXPIRED_PER_WRITE = 16
_BATCH_ROWS = 256
"""Rows of a batch in one transaction, which then holds the write lock for 20 ms."""

# AUTOINCREMENT never reuses a number, and every write inserts the row again, so a version is never
# reused. Text compares by UTF-8 bytes. Members are packed as
# uint64, which SQLite's signed integers cannot hold.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
    version INTEGER PRIMARY KEY AUTOINCREMENT,
    pk TEXT NOT NULL,
    sk TEXT NOT NULL,
    doc TEXT NOT NULL,
    members BLOB NOT NULL,
    counters TEXT NOT NULL,
    expires INTEGER,
    UNIQUE (pk, sk) ON CONFLICT REPLACE
) STRICT;
CREATE INDEX IF NOT EXISTS rows_by_expiry ON rows (expires) WHERE expires IS NOT NULL
"""
_SELECT = """
SELECT pk, sk, doc, members, counters, version, expires FROM rows
WHERE pk = ? AND sk = ? AND (expires IS NULL OR expires > ?)
"""
_SELECT_RANGE = """
SELECT pk, sk, doc, members, counters, version, expires FROM rows
WHERE pk = ? AND sk >= ? AND sk <= ? AND (expires IS NULL OR expires > ?)
ORDER BY sk LIMIT ?
"""
_INSERT = """
INSERT INTO rows (pk, sk, doc, members, counters, expires) VALUES (?, ?, ?, ?, ?, ?)
"""
_DELETE_EXPIRED = """
DELETE FROM rows
WHERE version IN (SELECT version FROM rows WHERE expires <= ? ORDER BY expires LIMIT ?)
"""


class SqliteTable:
    """Rows in a SQLite file; every acknowledged write survives kill -9 and power cuts.

    Parameters
    ----------
    path
        The file; created if absent.
    clock
        Unix seconds, by which rows expire.
    fsync
        False is faster, but writes may be lost in a power cut.
    busy_timeout_s
        How long each of five attempts to write waits for other writers.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.time,
        *,
        fsync: bool = True,
        busy_timeout_s: float = 5.0,
    ) -> None:
        self._clock = clock
        self._database = Database(path, _SCHEMA, fsync=fsync, busy_timeout_s=busy_timeout_s)

    def check(self) -> None:
        """Check that the folder of the file is there.

        Raises
        ------
        StoreUnavailableError
            It is not.
        """
        self._database.check()

    def close(self) -> None:
        """Close the idle connections of this process."""
        self._database.close()

    def get(self, pk: str, sk: str) -> Row | None:
        """Read one row."""
        with self._database.reading() as connection:
            return self._read(connection, pk, sk)

    def batch_get(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Row]:
        """Read many rows from one snapshot; absent ones are left out."""
        with self._database.reading() as connection:
            rows = (self._read(connection, pk, sk) for pk, sk in keys)
            return {(row.pk, row.sk): row for row in rows if row is not None}

    def query(
        self,
        pk: str,
        *,
        first: str = "",
        last: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page:
        """Read rows of a partition with ``first <= sk <= last``, at most 500 a page.

        Raises
        ------
        InvalidArgumentError
            The cursor is not one of ours, or the limit is not positive.
        """
        check_page_size(limit)
        size = min(limit or _PAGE_ROWS, _PAGE_ROWS)
        start = first if cursor is None else decode_cursor(cursor)
        stop = b"" if last is None else last  # any blob sorts after all text
        with self._database.reading() as connection:
            found = connection.execute(
                _SELECT_RANGE, (pk, start, stop, int(self._clock()), size + 1)
            ).fetchall()
        rows = [decode_row(columns) for columns in found[:size]]
        # The next key in byte order is the same with a NUL appended.
        return Page(rows, encode_cursor(rows[-1].sk + "\0") if len(found) > size else None)

    def put(self, row: Row, expect: Expectation = "any") -> int:
        """Write doc, members and expires and return the new version.

        Raises
        ------
        InvalidArgumentError
            A key is empty, the doc is not JSON, or a member is not an unsigned 64-bit integer.
        PreconditionFailedError
            The expectation does not hold.
        PayloadTooLargeError
            The row is over ``MAX_ROW_BYTES``.
        """
        return self._execute([Put(row, expect)])

    def delete(self, pk: str, sk: str, expect: Expectation = "any") -> None:
        """Remove a row.

        Raises
        ------
        PreconditionFailedError
            The expectation does not hold.
        """
        self._execute([Delete(pk, sk, expect)])

    def add_members(self, pk: str, sk: str, members: AbstractSet[int]) -> int:
        """Add members to the row's set, creating an absent row; return the new version.

        Raises
        ------
        PayloadTooLargeError
            The row would be over ``MAX_ROW_BYTES``.
        """
        with self._writing() as connection:
            return self._unite(connection, pk, sk, members)

    def batch_add_members(self, sets: Mapping[tuple[str, str], AbstractSet[int]]) -> None:
        """Add members to many rows, by key.

        Raises
        ------
        PayloadTooLargeError
            A row would be over ``MAX_ROW_BYTES``; only rows of earlier transactions have changed.
        """
        for keys in batched(sets, _BATCH_ROWS):
            with self._writing(len(keys)) as connection:
                for key in keys:
                    self._unite(connection, *key, sets[key])

    def remove_members(self, pk: str, sk: str, members: AbstractSet[int], if_version: int) -> bool:
        """Remove members from the row's set if the row has this version; False if it has not."""
        return self.batch_remove_members({(pk, sk): members}, {(pk, sk): if_version}) == 1

    def batch_remove_members(
        self,
        sets: Mapping[tuple[str, str], AbstractSet[int]],
        if_versions: Mapping[tuple[str, str], int],
    ) -> int:
        """Remove members from many rows, by key; return how many had their version."""
        removed = 0
        for keys in batched(sets, _BATCH_ROWS):
            with self._writing(len(keys)) as connection:
                for key in keys:
                    row = self._read(connection, *key)
                    if row is not None and row.version == if_versions.get(key):
                        self._write(connection, replace(row, members=row.members - sets[key]))
                        removed += 1
        return removed

    def increment(self, pk: str, sk: str, field: str, by: int = 1) -> int:
        """Add to one of the row's counters, creating row and counter if absent; return the sum."""
        with self._writing() as connection:
            row = self._read(connection, pk, sk) or Row(pk, sk)
            value = row.counters.get(field, 0) + by
            self._write(connection, replace(row, counters={**row.counters, field: value}))
            return value

    def raise_counter(self, pk: str, sk: str, field: str, at_least: int) -> int:
        """Raise one of the row's counters to a value if it is smaller; return its value."""
        with self._writing() as connection:
            row = self._read(connection, pk, sk) or Row(pk, sk)
            value = row.counters.get(field)
            if value is not None and value >= at_least:
                return value
            self._write(connection, replace(row, counters={**row.counters, field: at_least}))
            return at_least

    def transact(self, actions: Sequence[Action]) -> None:
        """Execute all actions or none.

        Raises
        ------
        InvalidArgumentError
            More than ``MAX_TRANSACTION`` actions, or two on one row.
        PreconditionFailedError
            An expectation does not hold; ``details["failed"]`` lists the indexes of such actions.
        WriteContentionError
            Other writers kept the file locked.
        """
        check_actions(actions)
        if actions:
            self._execute(actions)

    def _execute(self, actions: Sequence[Action]) -> int:
        """Execute all actions or none; return the version of the last put (0: no put)."""
        version = 0
        with self._writing(len(actions)) as connection:
            present = [self._read(connection, *key_of(action)) for action in actions]
            failed = [
                index
                for index, (action, row) in enumerate(zip(actions, present, strict=True))
                if not _holds(action.expect, row)
            ]
            if failed:
                raise PreconditionFailedError("A row is not as expected.", failed=failed)
            for action, row in zip(actions, present, strict=True):
                match action:
                    case Put():
                        counters = row.counters if row else {}
                        version = self._write(connection, replace(action.row, counters=counters))
                    case Delete():
                        connection.execute(
                            "DELETE FROM rows WHERE pk = ? AND sk = ?", (action.pk, action.sk)
                        )
                    case Check():
                        pass
        return version

    @contextmanager
    def _writing(self, rows: int = 1) -> Iterator[sqlite3.Connection]:
        """Return a connection with the write lock; more expired rows are removed than written."""
        with self._database.writing() as connection:
            connection.execute(_DELETE_EXPIRED, (int(self._clock()), _EXPIRED_PER_WRITE * rows))
            yield connection

    def _unite(
        self, connection: sqlite3.Connection, pk: str, sk: str, members: AbstractSet[int]
    ) -> int:
        row = self._read(connection, pk, sk) or Row(pk, sk)
        return self._write(connection, replace(row, members=row.members | members))

    def _read(self, connection: sqlite3.Connection, pk: str, sk: str) -> Row | None:
        columns = connection.execute(_SELECT, (pk, sk, int(self._clock()))).fetchone()
        return None if columns is None else decode_row(columns)

    def _write(self, connection: sqlite3.Connection, row: Row) -> int:
        version = connection.execute(_INSERT, encode_row(row)).lastrowid
        assert version is not None
        return version


def _holds(expect: Expectation, row: Row | None) -> bool:
    if expect == "any":
        return True
    if expect == "absent":
        return row is None
    return row is not None and row.version == expect
