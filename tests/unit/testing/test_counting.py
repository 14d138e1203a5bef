"""Stores that count: what is a write, what is a read, and that a whole world is counted."""

import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ndlambda import runtime
from ndlambda.errors import PreconditionFailedError
from ndlambda.settings import Settings
from ndlambda.stores import ports
from ndlambda.stores.ports import Check, Create, Delete, Overwrite, Put, Row
from ndlambda.testing import counting
from ndlambda.testing.counting import (
    CountingObjectStore,
    CountingQueue,
    CountingStores,
    CountingTable,
)
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
