"""A store that is throttled until its partitions have split."""

import pytest

from ndlambda.errors import UpstreamThrottledError
from ndlambda.space.shuffle import shuffled
from ndlambda.stores.ports import Overwrite
from ndlambda.testing.memory import MemoryObjectStore
from ndlambda.testing.partitions import PartitionedStore, seconds_to_read


@pytest.fixture
def objects() -> MemoryObjectStore:
    made = MemoryObjectStore()
    for number in range(4000):
        made.put(f"a/{number:04x}", b"x", Overwrite())
    return made


def test_a_partition_serves_so_many_requests_a_second(objects):
    store = PartitionedStore(objects, per_second=2, patience_s=3)
    for _ in range(2):
        store.get("a/0000")
        store.put("a/0001", b"y", Overwrite())
        with pytest.raises(UpstreamThrottledError):
            store.get("a/0002")
        store.next_second()
    assert next(store.list("a/")).key == "a/0000"
    assert (store.partitions, store.throttled) == (1, 2)


def test_keys_in_order_press_on_one_partition_and_shuffled_ones_on_all(objects):
    keys = [info.key for info in objects.list("a/")]
    found = {}
    for name, order in (("ordered", keys), ("shuffled", [keys[n] for n in shuffled(range(4000))])):
        store = PartitionedStore(objects, per_second=20, patience_s=10)
        found[name] = seconds_to_read(store, order, at_once=160), store.throttled
        assert store.partitions > 1
    assert found["ordered"][0] > 2 * found["shuffled"][0]
    assert found["ordered"][1] > 2 * found["shuffled"][1]
