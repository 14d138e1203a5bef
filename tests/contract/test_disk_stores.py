"""The contracts on files and SQLite."""

import pytest

from ndlambda.stores.disk import DiskObjectStore, SqliteQueue, SqliteTable
from ndlambda.testing.object_store_contract import ObjectStoreContract
from ndlambda.testing.queue_contract import QueueContract
from ndlambda.testing.table_contract import TableContract


class TestDiskObjectStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return DiskObjectStore(tmp_path / "objects")


class TestFilesThatPeopleCopyIn(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return DiskObjectStore(tmp_path / "objects", fsync=False, changed_by_others=True)

    def test_a_file_cut_short_after_it_was_read_is_still_whole(self, tmp_path):
        """Seen to fail with a mapped file: the process ends by SIGBUS."""
        store = DiskObjectStore(tmp_path, fsync=False, changed_by_others=True)
        (tmp_path / "slice.tif").write_bytes(b"x" * 200_000)
        stored = store.get("slice.tif")
        assert stored is not None
        (tmp_path / "slice.tif").write_bytes(b"")
        assert bytes(stored.data) == b"x" * 200_000


class TestSqliteTable(TableContract):
    @pytest.fixture
    def table(self, tmp_path):
        table = SqliteTable(tmp_path / "tables.sqlite", fsync=False)
        yield table
        table.close()


class TestSqliteQueue(QueueContract):
    @pytest.fixture
    def now(self):
        return [1_700_000_000.0]

    @pytest.fixture
    def queue(self, tmp_path, now):
        path = tmp_path / "queues.sqlite"
        queue = SqliteQueue(path, "mine", lambda: now[0], self.max_receives)
        beside = SqliteQueue(path, "another", lambda: now[0], self.max_receives)
        beside.send(["not mine"])
        yield queue
        assert [message.body for message in beside.receive()] == ["not mine"]
        queue.close()
        beside.close()

    @pytest.fixture
    def advance(self, now):
        def move(seconds: float) -> None:
            now[0] += seconds

        return move
