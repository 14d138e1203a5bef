"""What is left of ingest jobs when their channel is deleted: nothing."""

from contextlib import suppress

import pytest

from ingest_queue.erasure import IngestErasure
from ingest_queue.jobs.job import Mode, State
from ingest_queue.jobs.keys import part_key, token_folder
from ndlambda.errors import UpstreamError
from ndlambda.stores.ports import Overwrite
from tests.support import catalog_world
from tests.support.faults import Crash, FaultPlan, Faulty
from tests.support.ingest_world import FOLDER, png, stack

DEPTH = 18  # slices of a volume of two chunks


@pytest.fixture
def stores(world):
    """Those of a complete job of a folder, and of one by a call to which something was uploaded."""
    assert world.ingest(stack(1, z=DEPTH)).state is State.COMPLETE
    key = part_key(world.create(mode=Mode.CHUNKS).id, 0, "data.npy")
    world.drop_store.put(key, b"?", Overwrite())
    world.notice([key])
    return world.base.table, world.base.objects, world.drop_store


def left(world):
    """Return rows of jobs, but that of the folder (which stays), their objects, and uploads."""
    rows = {key for key in world.base.row_keys() if key[0].startswith("ingest")}
    rows -= {("ingest#deleted", FOLDER)}
    objects = world.base.objects.list("ingest/")
    return [*rows, *objects, *world.drop_store.list("drop/j/")]


def test_deleting_a_channel_removes_its_jobs_when_no_process_writes_any_more(world, stores):
    """Seen to fail where the erasure of channels does not know of ingest."""
    erasure = IngestErasure(*stores)
    world.base.erasure.add_first(erasure.retire_folders)
    world.base.erasure.add_last(erasure.sweep)
    world.base.catalog.delete_channel("pr", "em")
    world.base.erasure.sweep()
    world.base.pump()
    assert isinstance(left(world)[0], tuple), "what reads rows may go on for a while"
    world.base.let_all_work_end()
    assert left(world) == []
    assert not list(world.base.table.query("erase").rows)


@pytest.mark.parametrize("most", [7, 10_000])
def test_nothing_is_left_of_the_jobs_of_a_deleted_channel(world, stores, most):
    """By runs that remove some of it."""
    uid, erasure = world.job().channel_uid, IngestErasure(*stores, most)
    assert not erasure.sweep(uid), "its folder is still bound to a job"
    erasure.retire_folders(uid, 0)
    assert any(erasure.sweep(uid) for _ in range(200))
    assert left(world) == []
    assert not list(world.drop_store.list(FOLDER))


def test_an_erasure_that_dies_is_finished_by_the_next(world, stores):
    uid = world.job().channel_uid
    for fail_at in range(1, 400):
        plan = FaultPlan(fail_at)
        with suppress(Crash):
            erasure = IngestErasure(*(Faulty(store, plan) for store in stores))
            erasure.retire_folders(uid, 0)
            assert erasure.sweep(uid)
            break
    assert left(world) == []


def test_a_folder_that_cannot_be_moved_does_not_stop_the_others(world, stores, monkeypatch):
    world.base.catalog.create_token(catalog_world.token("other"))
    other = token_folder("other", "em")
    world.drop("0000.png", png(stack(1)[0, 0]), other)
    uid, tried = world.job(other).channel_uid, []
    erasure = IngestErasure(*stores)

    def set_aside(folder, name, before):
        tried.append(folder)
        raise UpstreamError("The disk is full.")

    monkeypatch.setattr(erasure._aside, "set_aside", set_aside)
    with pytest.raises(UpstreamError):
        erasure.retire_folders(uid, 0)
    assert sorted(tried) == sorted([FOLDER, other])
