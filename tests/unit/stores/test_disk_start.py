"""Data folders whose files do not belong together, and folders that are open to others."""

import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ndlambda import runtime
from ndlambda.errors import StoreUnavailableError
from ndlambda.settings import Settings
from ndlambda.stores.ports import Create, Row

DATABASES = ("table.sqlite", "queue.sqlite")


def open_folder(data: Path) -> None:
    """Open the stores of a folder, use each of them, and close them."""
    ports = runtime.open_ports(Settings(data=data, fsync=False))
    with closing(ports.table), closing(ports.open_queue("q")) as queue:
        queue.send(["{}"])
        for number in range(200):
            ports.table.put(Row("a", str(number), doc={"text": "x" * 100}))
        if ports.objects.get("a/b") is None:
            ports.objects.put("a/b", b"voxels", Create())


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_in_its_header(path: Path) -> None:
    os.truncate(path, 50)


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE places (url)")
        other.commit()


def no_database(path: Path) -> None:
    path.write_bytes(b"%PDF-1.7" * 1000)


def without_schema(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as new:
        new.execute("PRAGMA journal_mode = WAL")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    open_folder(tmp_path / "data")
    return tmp_path / "data"


def contents(data: Path) -> dict[str, bytes]:
    """Return what is in the files of a folder, but for empty logs, which reading leaves."""
    kept = (path for path in data.rglob("*") if path.is_file() and "-shm" not in path.name)
    found = {str(path): path.read_bytes() for path in kept}
    return {name: content for name, content in found.items() if content}


DAMAGES = (emptied, cut, cut_in_its_header, foreign, no_database, without_schema)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", DATABASES)
def test_a_damaged_or_foreign_file_beside_objects_is_refused_and_left_alone(
    data: Path, name: str, damage: Callable[[Path], None]
):
    """Seen to start as a new server, or to make its tables in another program's file."""
    damage(data / name)
    before = contents(data)
    with pytest.raises(StoreUnavailableError) as raised:
        open_folder(data)
    assert str(data / name) in raised.value.message
    assert "move" in raised.value.message
    assert ("backup" in raised.value.message) == (name == "table.sqlite")
    assert contents(data) == before


def test_objects_without_their_rows_are_refused(data: Path):
    (data / "table.sqlite").unlink()
    with pytest.raises(StoreUnavailableError, match="is missing"):
        open_folder(data)
    assert not (data / "table.sqlite").exists()
    with closing(sqlite3.connect(data / "table.sqlite")) as other:
        other.execute("CREATE TABLE rows (pk)")
        other.commit()
    with pytest.raises(StoreUnavailableError, match="has no rows"):
        open_folder(data)


def test_a_queue_may_be_deleted(data: Path):
    """As the message says: the rows hold what is to be done."""
    (data / "queue.sqlite").unlink()
    open_folder(data)


def test_files_of_a_start_that_died_are_used(tmp_path: Path):
    """Nothing was stored yet."""
    for damage in (emptied, without_schema):
        data = tmp_path / damage.__name__
        data.mkdir()
        for name in DATABASES:
            (data / name).touch()
            damage(data / name)
        open_folder(data)


def test_a_folder_copied_with_its_log_is_whole(data: Path, tmp_path: Path):
    """A server that is killed leaves rows in the log; the file alone may then be short."""
    table = runtime.open_ports(Settings(data=data, fsync=False)).table
    for number in range(300):
        table.put(Row("b", str(number), doc={"text": "x" * 100}))
    shutil.copytree(data, tmp_path / "copy")
    assert (tmp_path / "copy" / "table.sqlite-wal").stat().st_size
    table.close()
    open_folder(tmp_path / "copy")


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o755, 0o700), (0o701, 0o700), (0o750, 0o750), (0o700, 0o700)]
)
def test_a_folder_that_is_open_to_all_users_is_closed_and_that_is_told(
    data: Path, caplog: pytest.LogCaptureFixture, mode: int, expected: int
):
    """A group that was let in stays."""
    data.chmod(mode)
    caplog.set_level(logging.WARNING, logger="ndlambda.stores")
    open_folder(data)
    assert data.stat().st_mode & 0o777 == expected
    told = [record.getMessage() for record in caplog.records if str(data) in record.getMessage()]
    assert len(told) == (mode != expected)


def test_files_that_are_mixed_up_are_refused(data: Path):
    shutil.copy(data / "table.sqlite", data / "queue.sqlite")
    with pytest.raises(StoreUnavailableError, match="another program's"):
        open_folder(data)
