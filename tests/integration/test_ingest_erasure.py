"""What is left of ingest jobs when their channel is deleted: nothing but what people dropped."""

import pytest

from ingest_queue.erasure import IngestErasure
from ingest_queue.jobs.job import Mode, State
from ingest_queue.jobs.keys import part_key
from ndlambda.stores.ports import Overwrite
from tests.support.faults import Crash, FaultPlan, Faulty
from tests.support.ingest_world import FOLDER, stack

DEPTH = 18  # Slices of a volume of two chunks


@pytest.fixture
def world(make_world):
    return make_world({}, depth=DEPTH)


def ingest_rows(world):
    return {key for key in world.base.row_keys() if key[0].startswith("ingest")}


def fill(world):
    """Make a complete job of a folder, and one by a call to which something was uploaded."""
    assert world.ingest(stack(1, z=DEPTH)).state is State.COMPLETE
    called = world.create(mode=Mode.CHUNKS)
    world.drop_store.put(part_key(called.id, 0, "data.npy"), b"?", Overwrite())
    world.process().drop.on_object_created(part_key(called.id, 0, "data.npy"))


def is_clean(world):
    return (
        not ingest_rows(world)
        and not list(world.base.objects.list("ingest/"))
        and not list(world.drop_store.list("drop/j/"))
    )


def test_deleting_a_channel_removes_its_jobs_when_no_process_writes_any_more(world):
    """Seen to fail where the erasure of channels does not know of ingest."""
    fill(world)
    stores = world.base.table, world.base.objects, world.drop_store
    world.base.erasure.add_last(IngestErasure(*stores).sweep)
    world.base.catalog.delete_channel("pr", "em")
    world.base.erasure.resend_pending()
    world.base.pump()
    assert ingest_rows(world)  # what reads them may go on for a while
    world.base.let_all_work_end()
    assert is_clean(world)
    assert not list(world.base.table.query("erase").rows)


@pytest.mark.parametrize("most", [7, 10_000])
def test_nothing_is_left_of_the_jobs_of_a_deleted_channel(world, most):
    """By runs that remove some of it."""
    fill(world)
    uid = world.job().channel_uid
    erasure = IngestErasure(world.base.table, world.base.objects, world.drop_store, most)
    for _ in range(200):
        if erasure.sweep(uid):
            break
    assert is_clean(world)
    assert len(list(world.drop_store.list(FOLDER))) == DEPTH


def test_an_erasure_that_dies_is_finished_by_the_next(world):
    fill(world)
    uid = world.job().channel_uid
    stores = world.base.table, world.base.objects, world.drop_store
    for fail_at in range(1, 400):
        plan = FaultPlan(fail_at)
        try:
            done = IngestErasure(*(Faulty(store, plan) for store in stores)).sweep(uid)
        except Crash:
            continue
        assert done
        break
    assert is_clean(world)
