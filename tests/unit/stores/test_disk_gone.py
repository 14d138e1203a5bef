"""Disks that are unmounted, renamed or replaced under the stores."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ndlambda.errors import NDLambdaError, StoreUnavailableError, UpstreamError
from ndlambda.stores.disk import DiskObjectStore, SqliteTable
from ndlambda.stores.disk import objects as objects_module
from ndlambda.stores.disk.identity import check_same_stores, read_identity
from ndlambda.stores.ports import Create, Overwrite, Range, Row


def renamed(folder: Path) -> None:
    folder.rename(folder.with_name("away"))


def replaced(folder: Path) -> None:
    renamed(folder)
    folder.mkdir()


def bring_back(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name("away").rename(folder)


GONE = pytest.mark.parametrize("lose", [renamed, replaced])
Lose = Callable[[Path], None]


@GONE
def test_objects_of_a_lost_folder_are_unknown_and_nothing_is_stored(tmp_path: Path, lose: Lose):
    """Seen to fail where a missing file is an absent object: it reads as None, then as zeros."""
    root = tmp_path / "objects"
    store = DiskObjectStore(root, fsync=False)
    store.put("a/b", b"voxels", Create())
    lose(root)
    for use in (
        lambda: store.get("a/b"),
        lambda: store.get("a/b", Range(0, 1)),
        lambda: list(store.list("")),
        lambda: store.put("a/b", b"new", Overwrite()),
        lambda: store.put("a/c", b"new", Create()),
        lambda: store.delete("a/b"),
        store.check,
    ):
        with pytest.raises(StoreUnavailableError, match="not there any more"):
            use()
    bring_back(root)
    found = store.get("a/b")
    assert found is not None
    assert bytes(found.data) == b"voxels"
    assert [info.key for info in store.list("")] == ["a/b"]
    store.put("a/c", b"new", Create())


@GONE
def test_a_put_is_not_acknowledged_if_the_folder_is_lost_meanwhile(
    tmp_path: Path, lose: Lose, monkeypatch: pytest.MonkeyPatch
):
    """Seen to fail where the folder is only looked at before."""
    root = tmp_path / "objects"
    store = DiskObjectStore(root, fsync=False)
    place = objects_module._place

    def place_and_lose(*arguments: object, **options: object) -> object:
        placed = place(*arguments, **options)
        lose(root)
        return placed

    monkeypatch.setattr(objects_module, "_place", place_and_lose)
    with pytest.raises(StoreUnavailableError) as raised:
        store.put("a/b", b"voxels", Create())
    assert "Nothing was stored" not in str(raised.value)


def fail_to_open_identities(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    open_file = os.open

    def fail(path: Path, *arguments: int, **options: int) -> int:
        if Path(path).name == ".identity":
            raise OSError(code, os.strerror(code), str(path))
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(os, "open", fail)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_a_folder_whose_identity_cannot_be_read_is_not_reported_as_gone(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
):
    """Seen to fail where every error means no identity: a process out of files loses its disk."""
    store = DiskObjectStore(tmp_path / "objects", fsync=False)
    table = SqliteTable(tmp_path / "table.sqlite", fsync=False)
    fail_to_open_identities(monkeypatch, code)
    for use in (
        lambda: store.get("a/b"),
        lambda: store.put("a/b", b"voxels", Create()),
        store.check,
        lambda: table.put(Row("a", "1")),
        table.check,
        lambda: check_same_stores(tmp_path),
    ):
        with pytest.raises(UpstreamError, match=os.strerror(code)) as raised:
            use()
        assert not isinstance(raised.value, StoreUnavailableError)


@pytest.mark.parametrize(
    "code", [errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ENXIO]
)
def test_a_disk_that_answers_as_absent_is_gone(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
):
    store = DiskObjectStore(tmp_path, fsync=False)
    fail_to_open_identities(monkeypatch, code)
    with pytest.raises(StoreUnavailableError):
        store.check()


def test_a_file_found_missing_while_its_disk_was_away_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Seen to fail where the identity alone is looked at, which is back by then."""
    root = tmp_path / "objects"
    store = DiskObjectStore(root, fsync=False)
    store.put("a/b", b"voxels", Create())
    check = store._identity.check
    renamed(root)
    monkeypatch.setattr(store._identity, "check", lambda: (bring_back(root), check()))
    assert store.get("a/b") is not None


@GONE
def test_rows_of_a_lost_folder_are_not_acknowledged(tmp_path: Path, lose: Lose):
    """Seen to fail without a look at the folder: SQLite writes on into the file moved away."""
    data = tmp_path / "data"
    table = SqliteTable(data / "table.sqlite", fsync=False)
    table.put(Row("a", "1"))
    lose(data)
    for _ in range(3):
        with pytest.raises(NDLambdaError):
            table.put(Row("a", "2"))
    with pytest.raises(StoreUnavailableError):
        table.check()
    assert not (data / "table.sqlite").exists()
    bring_back(data)
    assert table.get("a", "1") is not None
    assert table.get("a", "2") is None
    table.put(Row("a", "2"))
    table.close()
    assert SqliteTable(data / "table.sqlite", fsync=False).get("a", "2") is not None


@GONE
def test_a_finished_delete_or_row_is_reported_as_uncertain_if_the_folder_is_lost_meanwhile(
    tmp_path: Path, lose: Lose, monkeypatch: pytest.MonkeyPatch
):
    store = DiskObjectStore(tmp_path / "objects", fsync=False)
    store.put("a/b", b"voxels", Create())
    monkeypatch.setattr(store, "_sync", lambda folder: lose(tmp_path / "objects"))
    with pytest.raises(StoreUnavailableError, match="may be lost"):
        store.delete("a/b")

    data = tmp_path / "rows" / "data"
    table = SqliteTable(data / "table.sqlite", fsync=False)
    identity = table._database._identity
    check = identity.check
    monkeypatch.setattr(identity, "check", lambda: (check(), lose(data)))
    with pytest.raises(StoreUnavailableError, match="may be lost"):
        table.put(Row("a", "1"))


def test_rows_go_to_the_folder_put_in_place_while_its_identity_could_not_be_read(tmp_path: Path):
    """Seen to fail where the connection is kept: it writes into the file moved away."""
    data = tmp_path / "data"
    table = SqliteTable(data / "table.sqlite", fsync=False)
    shutil.copytree(data, tmp_path / "copy")
    with pytest.MonkeyPatch.context() as monkeypatch:
        fail_to_open_identities(monkeypatch, errno.EMFILE)
        with pytest.raises(UpstreamError):
            table.put(Row("a", "1"))
    renamed(data)
    (tmp_path / "copy").rename(data)
    table.put(Row("a", "2"))
    table.close()
    assert SqliteTable(data / "table.sqlite", fsync=False).get("a", "2") is not None


def test_rows_are_not_acknowledged_while_their_file_is_moved_away(tmp_path: Path):
    """Seen to fail where the folder alone is looked at: SQLite writes on into the file."""
    path = tmp_path / "table.sqlite"
    table = SqliteTable(path, fsync=False)
    table.put(Row("a", "1"))
    with (
        pytest.raises(StoreUnavailableError, match="Nothing was stored"),
        table._database.writing(),
    ):
        path.rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            table.put(Row("a", "2"))
        with pytest.raises(StoreUnavailableError):
            table.check()
    assert not path.exists()
    (tmp_path / "away").rename(path)
    assert table.get("a", "2") is None
    table.put(Row("a", "2"))
    table.close()
    assert SqliteTable(path, fsync=False).get("a", "2") is not None


# the start


def open_both(data: Path) -> tuple[DiskObjectStore, SqliteTable]:
    check_same_stores(data)
    return DiskObjectStore(data / "objects"), SqliteTable(data / "table.sqlite")


def test_rows_and_objects_of_a_new_folder_have_one_identity(tmp_path: Path):
    open_both(tmp_path)
    assert read_identity(tmp_path) == read_identity(tmp_path / "objects") != b""
    open_both(tmp_path)


@pytest.mark.parametrize("is_old", [False, True], ids=["new", "old"])
@GONE
def test_rows_without_their_objects_are_not_opened(tmp_path: Path, lose: Lose, is_old: bool):
    """Seen to fail where the folder of objects is made if it is missing."""
    objects, table = open_both(tmp_path)
    objects.put("a/b", b"voxels", Create())
    table.put(Row("a", "1"))
    if is_old:
        for folder in (tmp_path, tmp_path / "objects"):
            (folder / ".identity").unlink()
    lose(tmp_path / "objects")
    with pytest.raises(StoreUnavailableError, match="Mount its disk"):
        open_both(tmp_path)
    bring_back(tmp_path / "objects")
    assert open_both(tmp_path)[0].get("a/b") is not None
    assert read_identity(tmp_path) == read_identity(tmp_path / "objects") != b""


def test_objects_of_another_folder_are_not_opened(tmp_path: Path):
    for name in ("one", "other"):
        open_both(tmp_path / name)[1].put(Row("a", "1"))
    shutil.rmtree(tmp_path / "one" / "objects")
    shutil.copytree(tmp_path / "other" / "objects", tmp_path / "one" / "objects")
    with pytest.raises(StoreUnavailableError, match="another one"):
        open_both(tmp_path / "one")


def test_a_folder_whose_identity_cannot_be_read_is_not_opened(tmp_path: Path):
    """Seen to fail where no text is an identity: a lost folder has it, too."""
    (tmp_path / ".identity").touch()
    with pytest.raises(UpstreamError, match="cannot be read"):
        DiskObjectStore(tmp_path)


@pytest.mark.parametrize("first", ["objects", "."])
def test_a_start_that_died_between_the_two_is_repeated(tmp_path: Path, first: str):
    DiskObjectStore(tmp_path / first)
    open_both(tmp_path)
    assert read_identity(tmp_path) == read_identity(tmp_path / "objects") != b""


def lock(table: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(table, isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def damage(table: Path) -> None:
    table.write_bytes(b"no database" * 100)


@pytest.mark.parametrize("hide", [lock, damage])
def test_rows_that_cannot_be_read_are_not_opened_with_an_empty_folder_of_objects(
    tmp_path: Path, hide: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
):
    """Seen to fail where an error of SQLite means no rows: the folder gets their identity."""
    table = open_both(tmp_path)[1]
    table.put(Row("a", "1"))
    table.close()
    replaced(tmp_path / "objects")
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
    held = hide(tmp_path / "table.sqlite")
    with pytest.raises(UpstreamError, match="cannot be read"):
        check_same_stores(tmp_path)
    assert list((tmp_path / "objects").iterdir()) == []
    del held


def test_a_file_without_the_table_has_no_rows(tmp_path: Path):
    (tmp_path / "table.sqlite").touch()
    open_both(tmp_path)
    assert read_identity(tmp_path) == read_identity(tmp_path / "objects") != b""
