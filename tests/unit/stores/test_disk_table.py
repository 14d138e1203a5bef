import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ndlambda.errors import (
    InvalidArgumentError,
    PayloadTooLargeError,
    StoreFullError,
    UpstreamError,
    WriteContentionError,
)
from ndlambda.stores.disk import SqliteTable
from ndlambda.stores.ports import Put, Row


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def table(tmp_path: Path, now: list[float]) -> Iterator[SqliteTable]:
    table = SqliteTable(
        tmp_path / "tables.sqlite", lambda: now[0], fsync=False, busy_timeout_s=0.01
    )
    yield table
    table.close()


def stored(tmp_path: Path) -> list[str]:
    connection = sqlite3.connect(tmp_path / "tables.sqlite")
    try:
        return [sk for (sk,) in connection.execute("SELECT sk FROM rows ORDER BY sk")]
    finally:
        connection.close()


def test_expired_rows_vanish_and_are_removed_by_later_writes(table, now, tmp_path):
    for number in range(20):
        table.put(Row("p", f"short-{number:02d}", expires=1010))
    table.put(Row("p", "long", expires=2000))
    table.put(Row("p", "kept"))
    now[0] = 1009.9
    assert len(table.query("p").rows) == 22
    now[0] = 1010.0
    assert [row.sk for row in table.query("p").rows] == ["kept", "long"]
    assert len(stored(tmp_path)) == 22
    table.put(Row("p", "x"))
    table.put(Row("p", "y"))
    assert stored(tmp_path) == ["kept", "long", "x", "y"]


def test_pages_have_at_most_500_rows(table):
    for start in range(0, 600, 100):
        table.transact([Put(Row("p", f"{n:03d}")) for n in range(start, start + 100)])
    page = table.query("p", limit=1000)
    assert len(page.rows) == 500
    rest = table.query("p", limit=1000, cursor=page.cursor)
    assert [row.sk for row in rest.rows] == [f"{n:03d}" for n in range(500, 600)]
    assert rest.cursor is None


def test_a_row_made_between_two_pages_is_seen(table):
    for sk in ("a", "b", "d"):
        table.put(Row("p", sk))
    page = table.query("p", limit=2)
    table.put(Row("p", "b\0"))
    table.put(Row("p", "c"))
    assert [row.sk for row in table.query("p", cursor=page.cursor).rows] == ["b\0", "c", "d"]


@pytest.mark.parametrize(
    "options", [*({"cursor": c} for c in ("%", "a", "_w==", "é")), {"limit": 0}]
)
def test_foreign_cursors_and_limits_that_are_not_positive_are_refused(table, options):
    with pytest.raises(InvalidArgumentError):
        table.query("p", **options)


@pytest.mark.parametrize("row", [
    Row("p", "a", members={-1}), Row("p", "a", members={2**64}),
    Row("p", "a", doc={"x": float("nan")}), Row("p", "a", doc={"x": {1}}),
    Row("p", "a", doc={"x": "\ud800"}), Row("p", "a\ud800"),
], ids=repr)  # fmt: skip
def test_rows_that_cannot_be_read_back_are_refused(table, row):
    with pytest.raises(InvalidArgumentError):
        table.put(row)
    assert not table.query("p").rows


def test_a_set_that_outgrows_the_row_is_refused(table):
    table.add_members("p", "a", frozenset(range(8000)))
    with pytest.raises(PayloadTooLargeError):
        table.add_members("p", "a", frozenset(range(8000, 9000)))
    assert len(table.get("p", "a").members) == 8000


def test_a_locked_file_is_contention_and_readers_go_on(table, tmp_path):
    table.put(Row("p", "a", doc={"x": 1}))
    other = sqlite3.connect(tmp_path / "tables.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(WriteContentionError):
        table.put(Row("p", "a", doc={"x": 2}))
    assert table.get("p", "a").doc == {"x": 1}
    other.close()
    table.put(Row("p", "a", doc={"x": 2}))


def test_a_file_that_is_no_database_is_an_upstream_error(tmp_path):
    (tmp_path / "other").write_bytes(b"something else " * 100)
    with pytest.raises(UpstreamError):
        SqliteTable(tmp_path / "other")


def test_rows_and_versions_outlive_the_table_object(tmp_path):
    versions = []
    for _ in range(3):
        table = SqliteTable(tmp_path / "tables.sqlite")
        versions.append(table.put(Row("p", "a")))
        table.delete("p", "a")
        table.close()
    assert len(set(versions)) == 3


def test_a_full_disk_is_told_from_a_failing_one(table):
    """SQLite's own bound on the pages of a file fails in the same way as a disk without room."""
    with pytest.raises(StoreFullError), table._database.writing() as connection:
        connection.executescript(
            "PRAGMA max_page_count = 1; CREATE TABLE other AS SELECT randomblob(100000) AS bytes"
        )
