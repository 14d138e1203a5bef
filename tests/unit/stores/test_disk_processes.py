"""The disk stores under many processes, fork and kill -9."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ndlambda.stores.disk import DiskObjectStore, SqliteTable
from ndlambda.stores.ports import Create, Row
from tests.unit.stores.disk_worker import PARTS, checked_number

REPOSITORY = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("disk_worker.py")


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, WORKER, *arguments],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )


def test_processes_at_once_lose_no_conditional_write(tmp_path):
    """4 processes x 50 rounds, on an object, a row's doc and a row's counter, all made on the way.
    Seen to fail without the ``flock`` and without ``BEGIN IMMEDIATE``."""
    workers = [start("count", str(tmp_path), "50") for _ in range(4)]
    for worker in workers:
        with worker:
            assert worker.wait(timeout=60) == 0
    counter = DiskObjectStore(tmp_path / "objects").get("counter")
    table = SqliteTable(tmp_path / "tables.sqlite")
    rows = {row.sk: row for row in table.query("p").rows}
    table.close()
    assert counter is not None
    assert bytes(counter.data) == b"200"
    assert rows["row"].doc == {"n": 200}
    assert rows["counter"].counters == {"n": 200}


def test_kill_9_loses_nothing_acknowledged_and_tears_nothing(tmp_path):
    """A writer is killed at a random point, three times over on the same folder. Seen to fail, in
    one round or another, with objects written in place and with ``BEGIN`` and ``COMMIT`` removed;
    the two tests below fail each time."""
    choice = random.Random(20)
    acknowledged: set[int] = set()
    for number in range(3):
        writer = start("write", str(tmp_path), str(1000 * number))
        with writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(choice.randrange(6, 100))]
            writer.kill()
            lines += writer.stdout.readlines()
        acknowledged |= {int(line) for line in lines if line[:1].isdigit() and line.endswith(b"\n")}
        check_everything(tmp_path, acknowledged)


def check_everything(folder: Path, acknowledged: set[int]) -> None:
    store = DiskObjectStore(folder / "objects")
    objects = {info.key: store.get(info.key) for info in store.list("")}
    numbers = {}
    for key, found in objects.items():
        assert found is not None
        numbers[key] = checked_number(found.data)
    overwritten = numbers.pop("shared/overwritten")
    assert overwritten is not None
    assert overwritten >= max(acknowledged)
    assert numbers == {f"own/{number:06d}": number for number in numbers.values()}
    assert acknowledged <= set(numbers.values())

    table = SqliteTable(folder / "tables.sqlite")
    members = table.get("p", "members")
    parts = table.query("p", first="part#", last="part#~").rows
    table.close()
    assert members is not None
    assert acknowledged <= members.members
    assert len(parts) == PARTS
    (transaction,) = {part.doc["n"] for part in parts}
    assert transaction >= max(acknowledged)


@pytest.mark.parametrize("limit", [110_000, 500_000, 999_999])
def test_a_writer_that_dies_within_a_write_leaves_the_old_object(tmp_path, limit):
    """The kernel kills the writer when the file that it writes reaches the limit. Seen to fail with
    the object written in place: its first bytes were new and the rest missing."""
    store = DiskObjectStore(tmp_path / "objects")
    store.put("object", b"old content", Create())
    with start("tear", str(tmp_path), str(limit)) as writer:
        assert writer.wait(timeout=60) == -signal.SIGXFSZ
    found = store.get("object")
    assert found is not None
    assert bytes(found.data) == b"old content"
    assert [info.key for info in DiskObjectStore(tmp_path / "objects").list("")] == ["object"]
    assert [path.stat().st_size for path in (tmp_path / "objects/.temp").iterdir()] == [limit]


def test_a_writer_that_dies_within_a_transaction_leaves_no_row_of_it(tmp_path):
    """The kernel kills the writer when SQLite's log reaches the limit. Seen to fail with ``BEGIN``
    and ``COMMIT`` removed: some of the 60 rows were there."""
    table = SqliteTable(tmp_path / "tables.sqlite")
    version = table.put(Row("p", "0", doc={"x": "old"}))
    with start("tear", str(tmp_path), "90000") as writer:
        assert writer.wait(timeout=60) == -signal.SIGXFSZ
    assert table.query("p").rows == [Row("p", "0", doc={"x": "old"}, version=version)]
    assert table.put(Row("p", "1")) > version
    table.close()


def test_a_forked_child_uses_connections_of_its_own(tmp_path):
    with start("fork", str(tmp_path)) as worker:
        assert worker.wait(timeout=60) == 0
