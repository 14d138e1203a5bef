"""Stores that count: what is a write, what is a read, and that a whole world is counted."""

import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest

from ndlambda import runtime
from ndlambda.errors import PreconditionFailedError
from ndlambda.settings import Settings
from ndlambda.stores import ports
from ndlambda.stores.ports import Check, Create, Delete, Overwrite, Put, Range, Row
from ndlambda.testing import counting
from ndlambda.testing.counting import (
    CountingObjectStore,
    CountingQueue,
    CountingStores,
    CountingTable,
)
from ndlambda.testing.memory import MemoryObjectStore
from tests.support.catalog_world import World, disk_world
from tests.support.ingest_world import disk_ingest_world


@pytest.fixture
def stores() -> CountingStores:
    return CountingStores(record_keys=True)


@pytest.fixture
def world(tmp_path: Path, stores: CountingStores) -> Iterator[World]:
    made = disk_world(tmp_path)
    yield stores.wrap(made)
    made.table.close()
    made.queue.close()


@pytest.mark.parametrize("port", [ports.ObjectStore, ports.Table, ports.Queue])
def test_every_verb_of_a_port_is_counted(port):
    wrapper = getattr(counting, f"Counting{port.__name__}")
    for name, verb in inspect.getmembers(port, inspect.isfunction):
        if not name.startswith("_"):
            assert inspect.signature(getattr(wrapper, name)) == inspect.signature(verb)


def test_requests_to_all_stores_are_counted_together(world, stores):
    world.objects.put("a/b", b"x", Overwrite())
    assert world.objects.get("a/b") is not None
    assert [info.key for info in world.objects.list("a/")] == ["a/b"]
    world.objects.delete("a/b")
    world.table.increment("p", "s", "n")
    world.table.transact([Put(Row("p", "t")), Delete("p", "u"), Check("p", "v", "absent")])
    world.queue.send(["body"])
    (message,) = world.queue.receive()
    world.queue.ack([message.receipt])
    assert (stores.reads, stores.writes, stores.requests) == (3, 6, 9)
    assert stores.keys("table.transact") == [[("p", "t"), ("p", "u"), ("p", "v")]]
    stores.reset()
    assert (stores.requests, stores.calls, stores.keys("objects.get")) == (0, {}, [])


def test_items_and_bytes_are_counted_by_verb(world, stores):
    for number in range(3):
        world.objects.put(f"a/{number}", b"12345", Overwrite())
    world.objects.get("a/0", Range(1, 3))
    world.objects.get("b/0")
    assert len(list(world.objects.list("a/"))) == 3
    world.objects.delete_many(["a/0", "a/1"])
    world.table.transact([Put(Row("p", f"{n}", {"d": 1})) for n in range(4)])
    world.table.batch_add_members({("p", "0"): {1, 2}, ("p", "1"): {3}})
    assert len(world.table.query("p", limit=2).rows) == 2
    world.table.batch_get([("p", "0"), ("p", "none")])
    world.queue.send(["ab", "c"])
    world.queue.receive()
    row = len("p0") + len('{"d": 1}')
    assert {verb: (stores.items[verb], stores.sizes[verb]) for verb in stores.calls} == {
        "objects.put": (3, 15),
        "objects.get": (2, 2),
        "objects.list": (3, 0),
        "objects.delete_many": (2, 0),
        "table.transact": (4, 4 * row),
        "table.batch_add_members": (2, 24),
        "table.query": (2, 2 * row + 24),
        "table.batch_get": (2, row + 16),
        "queue.send": (2, 3),
        "queue.receive": (2, 3),
    }
    stores.reset()
    assert stores.items == stores.sizes == {}


def test_a_long_listing_is_a_read_for_every_1000_lines():
    objects = CountingObjectStore(MemoryObjectStore())
    for number in range(2001):
        objects.put(f"a/{number}", b"", Overwrite())
    assert len(list(islice(objects.list("a/"), 1000))) == 1000
    assert objects.reads == 1
    list(objects.list("a/"))
    assert objects.reads == 1 + 3


def test_what_changes_nothing_is_no_write(world, stores):
    version = world.table.put(Row("p", "s"))
    world.objects.put("a", b"x", Create())
    with stores.no_writes():
        world.table.transact([Check("p", "s", version)])
        world.table.batch_add_members({})
        world.table.batch_remove_members({}, {})
        world.queue.send([])
        world.objects.presign("put", "a", 10)
        with pytest.raises(PreconditionFailedError):
            world.table.put(Row("p", "s"), "absent")
        with pytest.raises(PreconditionFailedError):
            world.objects.put("a", b"y", Create())


def test_a_write_is_told_by_its_verb(world, stores):
    with pytest.raises(AssertionError, match=r"table\.put"), stores.no_writes():
        world.table.put(Row("p", "s"))


def test_stores_of_a_world_within_a_world_are_counted(tmp_path, stores):
    world = stores.wrap(disk_ingest_world(tmp_path))
    world.populate()
    assert stores.calls["table.transact"] > 0
    stores.reset()
    world.put("0005.png", b"x")
    assert stores.calls == {"objects.put": 1}
    world.close()


def test_a_single_store_has_counts_of_its_own(tmp_path):
    made = disk_world(tmp_path)
    table, queue = CountingTable(made.table), CountingQueue(made.queue)
    objects = CountingObjectStore(made.objects)
    table.put(Row("p", "s"))
    assert (table.writes, queue.requests, objects.requests) == (1, 0, 0)
    with pytest.raises(ValueError, match="record_keys"):
        table.counts.keys("table.put")


def test_counts_of_many_threads_add_up(world, stores):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: world.table.get("p", "s"), range(400)))
    assert (stores.reads, stores.calls["table.get"]) == (400, 400)


def test_a_runtime_is_built_on_counting_stores(tmp_path, stores):
    settings = Settings(data=tmp_path, fsync=False)
    built = runtime.build(settings, stores.wrap_ports(runtime.open_ports(settings)))
    built.users.create_user("alice")
    built.resources.queues.drop.send(["body"])
    built.close()
    assert stores.calls["queue.send"] == 1
    assert stores.writes > 1
