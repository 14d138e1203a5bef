"""The contracts in memory."""

import pytest

from ndlambda.testing.memory import MemoryObjectStore, MemoryQueue, MemoryTable
from ndlambda.testing.object_store_contract import ObjectStoreContract
from ndlambda.testing.queue_contract import QueueContract
from ndlambda.testing.table_contract import TableContract


class TestMemoryObjectStore(ObjectStoreContract):
    @pytest.fixture
    def store(self):
        return MemoryObjectStore()


class TestMemoryTable(TableContract):
    @pytest.fixture
    def table(self):
        return MemoryTable()


class TestMemoryQueue(QueueContract):
    @pytest.fixture
    def now(self):
        return [1_700_000_000.0]

    @pytest.fixture
    def queue(self, now):
        return MemoryQueue(lambda: now[0], self.max_receives)

    @pytest.fixture
    def advance(self, now):
        def move(seconds: float) -> None:
            now[0] += seconds

        return move
