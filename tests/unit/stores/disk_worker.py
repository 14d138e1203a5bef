"""What the child processes of test_disk_processes.py do; run as a script.

``count FOLDER ROUNDS`` adds one to an object, a row's doc and a row's counter, ROUNDS times.
``write FOLDER START`` writes objects and rows from number START on until it is killed, and prints
``next`` before each step and each number when everything of it was acknowledged.
``tear FOLDER LIMIT`` overwrites an object (LIMIT over 100000) or writes 60 rows and dies in the
middle of it, at LIMIT bytes of the file being written.
``fork FOLDER`` uses one table in a process and in its forked child at once.
"""

import itertools
import os
import random
import resource
import signal
import sys
from functools import partial
from pathlib import Path

import google_crc32c

from ndlambda.errors import PreconditionFailedError
from ndlambda.stores.disk import DiskObjectStore, SqliteTable
from ndlambda.stores.ports import Create, Overwrite, Put, Replace, Row

PARTS = 60
NOISE = random.Random(0).randbytes(1_100_000)


def checked(number: int, size: int) -> bytes:
    """Content that tells whether it is whole: CRC-32C, number and noise."""
    start = number % 1009
    body = number.to_bytes(8, "little") + NOISE[start : start + size]
    return google_crc32c.value(body).to_bytes(4, "little") + body


def checked_number(content: memoryview) -> int | None:
    """The number that was written; None in torn content."""
    checksum = google_crc32c.value(bytes(content[4:])).to_bytes(4, "little")
    return int.from_bytes(content[4:12], "little") if checksum == content[:4] else None


def count(folder: Path, rounds: int) -> None:
    store = DiskObjectStore(folder / "objects", fsync=False)
    table = SqliteTable(folder / "tables.sqlite", fsync=False)
    for _ in range(rounds):
        table.increment("p", "counter", "n")
        while not _count_in_object(store):
            pass
        while not _count_in_row(table):
            pass


def _count_in_object(store: DiskObjectStore) -> bool:
    found = store.get("counter")
    try:
        if found is None:
            store.put("counter", b"1", Create())
        else:
            store.put("counter", b"%d" % (int(bytes(found.data)) + 1), Replace(found.etag))
    except PreconditionFailedError:
        return False
    return True


def _count_in_row(table: SqliteTable) -> bool:
    row = table.get("p", "row")
    try:
        if row is None:
            table.put(Row("p", "row", doc={"n": 1}), expect="absent")
        else:
            table.put(Row("p", "row", doc={"n": row.doc["n"] + 1}), expect=row.version)
    except PreconditionFailedError:
        return False
    return True


def write(folder: Path, start: int) -> None:
    store = DiskObjectStore(folder / "objects", fsync=False)
    table = SqliteTable(folder / "tables.sqlite", fsync=False)
    for number in itertools.count(start):
        small, large = checked(number, 50_000), checked(number, 1_000_000 + number)
        parts = [Put(Row("p", f"part#{part:02d}", doc={"n": number})) for part in range(PARTS)]
        for step in (
            partial(store.put, f"own/{number:06d}", small, Create()),
            partial(store.put, "shared/overwritten", large, Overwrite()),
            partial(table.add_members, "p", "members", {number}),
            partial(table.transact, parts),
        ):
            os.write(1, b"next\n")  # lets the parent kill within each step
            step()
        os.write(1, b"%d\n" % number)


def tear(folder: Path, limit: int) -> None:
    """Die within the system call that would make a file longer than the limit. The kernel writes up
    to the limit and kills with SIGXFSZ, which Python would ignore."""
    store = DiskObjectStore(folder / "objects")
    table = SqliteTable(folder / "tables.sqlite")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    if limit > 100_000:
        store.put("object", checked(2, 1_000_000), Overwrite())
    table.transact([Put(Row("p", f"{n}", doc={"x": "x" * 5_000})) for n in range(60)])


def fork(folder: Path) -> None:
    table = SqliteTable(folder / "tables.sqlite", fsync=False)
    table.increment("p", "counter", "n")
    child = os.fork()
    for _ in range(100):
        table.increment("p", "counter", "n")
    if child == 0:
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert table.increment("p", "counter", "n") == 202


if __name__ == "__main__":
    task, where, *numbers = sys.argv[1:]
    tasks = {"count": count, "write": write, "tear": tear, "fork": fork}
    tasks[task](Path(where), *map(int, numbers))
