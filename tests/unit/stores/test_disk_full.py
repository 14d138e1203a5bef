"""Full disks and spent quotas: a word of their own from every store, and nothing half written."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ndlambda.errors import StoreFullError, UpstreamError
from ndlambda.stores.disk import AsideFolder, DiskObjectStore, DroppedFiles, SqliteTable
from ndlambda.stores.disk import database as database_module
from ndlambda.stores.disk import full as full_module
from ndlambda.stores.disk.locks import LockFolder
from ndlambda.stores.ports import Create, Overwrite, Row

FULL = pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])


def raising(number: int):
    """Return a function that fails as a call of the operating system does."""

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@FULL
@pytest.mark.parametrize("step", ["write", "folder", "fsync", "lock"])
@pytest.mark.parametrize("kind", [DiskObjectStore, DroppedFiles])
def test_an_object_that_does_not_fit_is_refused_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: str, kind: type
):
    more = () if kind is DiskObjectStore else ("drop/uploads/", "_DONE")
    store = kind(tmp_path, *more, fsync=True)
    store.put("drop/b", b"old", Create())
    with monkeypatch.context() as patched:
        match step:
            case "write":
                patched.setattr(DiskObjectStore, "_write", raising(number))
            case "folder":
                patched.setattr(Path, "mkdir", raising(number))
            case "fsync":
                patched.setattr(os, "fsync", raising(number))
            case "lock":
                patched.setattr(LockFolder, "hold", raising(number))
        for key in ("drop/b", "new/folder/c") if step != "folder" else ("new/folder/c",):
            with pytest.raises(StoreFullError) as raised:
                store.put(key, b"new", Overwrite())
            assert raised.value.retryable
    assert bytes(store.get("drop/b").data) == (b"old")
    assert not list((tmp_path / ".temp").iterdir())


@FULL
def test_files_are_not_set_aside_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    (tmp_path / "drop" / "tk" / "em").mkdir(parents=True)
    (tmp_path / "drop" / "tk" / "em" / "1.png").write_bytes(b"x")
    monkeypatch.setattr(Path, "mkdir", raising(number))
    with pytest.raises(StoreFullError):
        AsideFolder(tmp_path).set_aside("drop/tk/em", "uid", float("inf"))
    assert (tmp_path / "drop" / "tk" / "em" / "1.png").exists()


def fill(table: SqliteTable) -> None:
    for number in range(100):
        table.put(Row("b", str(number), doc={"text": "x" * 1000}))


def test_rows_that_do_not_fit_are_refused_and_the_others_stay(tmp_path: Path):
    """By SQLite itself, which is allowed no further page."""
    with closing(SqliteTable(tmp_path / "table.sqlite", fsync=False)) as table:
        table.put(Row("a", "1"))
        with table._database.reading() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreFullError, match="full"):
            fill(table)
        assert table.get("a", "1") is not None


@contextmanager
def failing(code: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let SQLite fail with a code where a write begins."""

    def fail(connection: sqlite3.Connection, statement: str) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(database_module, "_retry_busy", fail)
        yield


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE])
@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StoreFullError), (errno.EDQUOT, StoreFullError), (None, UpstreamError)],
)
def test_a_failure_of_sqlite_is_a_full_disk_if_nothing_else_can_be_written_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, number: int | None, error: type
):
    with closing(SqliteTable(tmp_path / "table.sqlite", fsync=False)) as table:
        if number is not None:
            monkeypatch.setattr(full_module, "TemporaryFile", raising(number))
        with failing(code, monkeypatch), pytest.raises(error) as raised:
            table.put(Row("a", "1"))
        assert type(raised.value) is error
        table.put(Row("a", "1"))
