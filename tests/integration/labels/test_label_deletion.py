"""A deleted annotation channel leaves no row behind, whatever dies on the way."""

from contextlib import suppress
from functools import partial
from pathlib import Path

from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.deletion import rows
from ndlambda.services.labels.ids import counter_key
from ndlambda.services.labels.index import LabelLayer, entry_key
from tests.support.catalog_world import GRACE_S, World, channel, dataset, disk_world, project
from tests.support.faults import Crash, at_every_step


def painted(folder: Path, labels: int = 40) -> World:
    """Return a world with two channels and rows for their labels; the first has been deleted."""
    world = disk_world(folder)
    world.catalog.create_dataset(dataset())
    world.catalog.create_project(project())
    changes = {"channel_type": ChannelType.ANNOTATION, "datatype": DataType.UINT32}
    for name in ("ch", "kept"):
        made = world.catalog.create_channel(channel(name, **changes))
        world.write(made, 1)
        world.table.raise_counter(*counter_key(made.uid), "last", labels)
        for label in range(1, labels + 1):
            world.table.add_members(*entry_key(LabelLayer(made.uid, 0, 0), label, 0), {label})
    world.catalog.delete_channel("pr", "ch")
    return world


def label_rows(world: World) -> set[str]:
    """Return the uids of channels that have rows for labels."""
    return {pk.split("#")[1] for pk, _ in world.row_keys() if pk.startswith("label#")}


def test_index_and_counter_go_with_the_channel(tmp_path):
    world = painted(tmp_path)
    kept = world.catalog.get_channel("pr", "kept")
    world.pump()
    assert len(label_rows(world)) == 2  # the counter stays while painters may be at work
    world.clock.advance(GRACE_S)
    world.let_all_work_end()
    assert label_rows(world) == {kept.uid}
    assert world.table.get(f"label#{kept.uid}", "ids").counters == {"last": 40}


def test_entries_of_a_painter_that_was_still_at_work_go_too(tmp_path):
    """Seen to fail with the counter deleted by the first pass: the second then looks no further."""
    world = painted(tmp_path)
    [gone] = {row.sk for row in world.table.query("erase").rows}
    world.pump()
    world.table.add_members(*entry_key(LabelLayer(gone, 0, 0), 7, 0), {0})
    world.let_all_work_end()
    assert gone not in label_rows(world)


def test_a_worker_that_dies_anywhere_leaves_no_row(tmp_path, monkeypatch):
    some = partial(rows.delete_label_index, max_rows=2)
    monkeypatch.setattr(rows, "delete_label_index", some)
    for world, plan in at_every_step(lambda name: painted(tmp_path / name, labels=3), least=9):
        worker, _ = world.services(plan)
        with suppress(Crash):
            world.pump(worker)
            world.clock.advance(GRACE_S)
            world.pump(worker)
        world.clock.advance(61)
        world.let_all_work_end()
        kept = world.catalog.get_channel("pr", "kept")
        assert label_rows(world) == {kept.uid}, plan.log
        assert not world.table.query("erase").rows
