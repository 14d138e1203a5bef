"""Deletions end once, whole and for good, whatever dies on the way."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ndlambda.errors import (
    DatasetNotFoundError,
    InvalidStateError,
    NotFoundError,
    ProjectNotFoundError,
    TokenNotFoundError,
)
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.deletion import worker as erasure
from ndlambda.stores.ports import Overwrite
from tests.support.catalog_world import (
    GRACE_S,
    World,
    channel,
    dataset,
    disk_world,
    populate,
    project,
    token,
)
from tests.support.faults import Crash, FaultPlan

Deletion = Callable[[Catalog], object]

DELETIONS: dict[str, Deletion] = {
    "dataset": lambda catalog: catalog.delete_dataset("ds"),
    "project": lambda catalog: catalog.delete_project("pr"),
    "channel": lambda catalog: catalog.delete_channel("pr", "ch"),
    "token": lambda catalog: catalog.delete_token("tk"),
}

LOOKS: dict[str, Callable[[Catalog], object]] = {
    "dataset": lambda catalog: catalog.get_dataset("ds"),
    "project": lambda catalog: catalog.get_project("pr"),
    "channel": lambda catalog: catalog.get_channel("pr", "ch"),
    "token": lambda catalog: catalog.get_token("tk"),
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return disk_world(tmp_path / "world")


def _undisturbed(folder: Path, delete: Deletion) -> tuple[list[Any], list[str]]:
    """Return the rows and objects that are left when nothing goes wrong (without random uids)."""
    world = disk_world(folder)
    populate(world)
    delete(world.catalog)
    world.let_all_work_end()
    return world.row_keys(), _without_uids(world)


def _without_uids(world: World) -> list[str]:
    parts = [info.key.split("/") for info in world.objects.list("")]
    return ["/".join([*names[:2], *names[3:]]) for names in parts]


def _repeat(world: World, delete: Deletion) -> None:
    with suppress(NotFoundError):  # the first attempt came far enough
        delete(world.catalog)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", DELETIONS)
@pytest.mark.parametrize("rescue", ["repeat", "worker", "lost messages"])
def test_a_deletion_that_dies_anywhere_ends_as_if_undisturbed(
    tmp_path: Path, what: str, when: Any, rescue: str
) -> None:
    """Each step of the deletion is the last of its process once.

    Where nothing can be seen of it, nothing was promised, and it is done again.

    Seen to fail: with the job stored after the mark instead of with it, the worker never hears of
    a project whose deletion died between the two; with the channel's row deleted before its job
    is stored, its objects stay.
    """
    delete = DELETIONS[what]
    expected = _undisturbed(tmp_path / "undisturbed", delete)
    for step in range(1, 200):
        world = disk_world(tmp_path / f"{step}")
        populate(world)
        plan = FaultPlan(step, when)
        with suppress(Crash):
            delete(world.services(plan)[1])
        if not plan.fired:
            assert step > 2
            return
        begun = _reads_as_gone(world, what)
        if rescue == "lost messages":
            world.lose_messages()
        if rescue == "repeat" or not begun:
            _repeat(world, delete)
            assert _catalogue(world.row_keys()) == _catalogue(expected[0]), plan.log
        world.let_all_work_end()
        assert (world.row_keys(), _without_uids(world)) == expected, plan.log
    pytest.fail("The deletion has no end.")


def _catalogue(keys: list[Any]) -> list[Any]:
    return [key for key in keys if key[0] != "erase"]


def _reads_as_gone(world: World, what: str) -> bool:
    try:
        LOOKS[what](world.services()[1])
    except NotFoundError:
        return True
    return False


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_dies_anywhere_is_replaced(tmp_path: Path, when: Any) -> None:
    """Each step of the worker is the last of its process once, its message then comes again."""
    for step in range(1, 300):
        world = disk_world(tmp_path / f"{step}")
        populate(world)
        world.catalog.delete_project("pr")
        plan = FaultPlan(step, when)
        worker, _ = world.services(plan)
        try:
            world.pump(worker.run)
            world.clock.advance(GRACE_S)
            world.pump(worker.run)
        except Crash:
            pass
        world.clock.advance(61)  # what was received and not acknowledged is visible again
        world.let_all_work_end()
        assert not [pk for pk, _ in world.row_keys() if pk == "erase"], plan.log
        assert world.keys("pr/") == []
        assert len(world.keys("pr2/")) == 3
        if not plan.fired:
            return
    pytest.fail("The worker has no end.")


def test_deleting_a_dataset_leaves_no_row_and_no_object(world: World) -> None:
    populate(world)
    world.catalog.delete_dataset("ds")
    assert _catalogue(world.row_keys()) == []
    world.let_all_work_end()
    assert world.row_keys() == []
    assert world.keys() == []


def test_many_children_are_removed_over_several_transactions(world: World) -> None:
    populate(world)
    for number in range(120):
        world.catalog.create_channel(channel(f"c{number}"))
        world.catalog.create_token(token(f"t{number}"))
    world.catalog.delete_project("pr")
    left = [key for key in world.row_keys() if key[0] in {"project#pr", "tokens"}]
    assert left == [("tokens", "tk3")]


def test_what_is_being_deleted_is_not_found_and_its_name_not_free(world: World) -> None:
    populate(world)
    with pytest.raises(Crash):
        # get, transact: the project is marked, and nothing more happens
        world.services(FaultPlan(2))[1].delete_project("pr")
    catalog = world.services()[1]
    with pytest.raises(ProjectNotFoundError):
        catalog.get_project("pr")
    with pytest.raises(TokenNotFoundError):
        catalog.project_view("tk")
    with pytest.raises(ProjectNotFoundError):
        catalog.create_channel(channel("new"))
    with pytest.raises(InvalidStateError, match="being deleted"):
        catalog.create_project(project())
    catalog.delete_project("pr")
    catalog.create_project(project())
    assert catalog.lists.channels_of("pr") == []


def test_what_lies_under_a_dataset_being_deleted_is_not_found(world: World) -> None:
    populate(world)
    with pytest.raises(Crash):
        world.services(FaultPlan(2))[1].delete_dataset("ds")
    catalog = world.services()[1]
    with pytest.raises(DatasetNotFoundError):
        catalog.create_project(project("new"))
    with pytest.raises(ProjectNotFoundError):
        catalog.get_project("pr")
    with pytest.raises(TokenNotFoundError):
        catalog.project_view("tk")
    assert catalog.lists.public_datasets() == []


def test_a_channel_made_again_keeps_its_voxels_while_the_old_are_erased(world: World) -> None:
    populate(world)
    world.catalog.delete_channel("pr", "ch")
    again = world.catalog.create_channel(channel())
    world.write(again)
    world.let_all_work_end()
    assert len(world.keys(f"pr/ch/{again.uid}/")) == 3
    assert len(world.keys("pr/ch/")) == 3


def test_an_overtaken_worker_does_not_remove_a_new_project_of_the_same_name(world: World) -> None:
    """Seen to fail without the check of the marked row: the new channel is gone."""
    populate(world)
    world.catalog.delete_token("tk")
    world.catalog.delete_token("tk2")

    class Overtaken:
        """Stops before its first removal; meanwhile all is removed and made anew."""

        overtaken = False

        def __getattr__(self, name: str) -> Any:
            return getattr(world.table, name)

        def transact(self, actions: Any) -> None:
            if not self.overtaken and len(actions) > 3:
                self.overtaken = True
                world.services()[1].delete_project("pr")
                world.catalog.create_project(project())
                world.catalog.create_channel(channel())
            world.table.transact(actions)

    overtaken = Overtaken()
    slow = World(overtaken, world.objects, world.queue, world.clock)
    slow.catalog.delete_project("pr")
    assert overtaken.overtaken
    assert [c.name for c in world.catalog.lists.channels_of("pr")] == ["ch"]


def test_a_token_moved_to_another_project_meanwhile_survives(world: World) -> None:
    """Seen to fail without the version of the listing row: the token of the other is gone."""
    populate(world)

    class Moving:
        moved = False

        def __getattr__(self, name: str) -> Any:
            return getattr(world.table, name)

        def transact(self, actions: Any) -> None:
            if not self.moved and len(actions) > 3:
                self.moved = True
                world.catalog.delete_token("tk")
                world.catalog.create_token(token(project="pr2"))
            world.table.transact(actions)

    moving = Moving()
    World(moving, world.objects, world.queue, world.clock).catalog.delete_project("pr")
    assert moving.moved
    assert world.services()[1].get_token("tk").project == "pr2"
    assert ("project#pr", "project") not in world.row_keys()
    assert ("token#tk2", "token") not in world.row_keys()


def test_a_writer_who_still_knew_the_channel_leaves_nothing(world: World) -> None:
    """Seen to fail with ``grace_s=0``, which ends the job with the first pass."""
    stored = populate(world)[0]
    world.catalog.delete_channel("pr", "ch")
    world.pump()
    assert world.keys("pr/ch/") == []
    world.clock.advance(4)
    world.objects.put(f"pr/ch/{stored.uid}/0/0/late", b"late voxels", Overwrite())
    world.clock.advance(GRACE_S)
    world.pump()
    assert world.keys("pr/ch/") == []
    assert not [pk for pk, _ in world.row_keys() if pk == "erase"]


def test_the_last_pass_waits_for_the_last_writer(world: World) -> None:
    populate(world)
    world.catalog.delete_channel("pr", "ch")
    for _ in range(14):
        world.pump()
        world.erasure.resend_pending()
        world.clock.advance(GRACE_S / 15)
    assert [pk for pk, _ in world.row_keys() if pk == "erase"] == ["erase"]


def test_a_doubled_message_changes_nothing(world: World) -> None:
    stored = populate(world)[0]
    world.catalog.delete_channel("pr", "ch")
    for _ in range(3):
        world.erasure.run(stored.uid)
    world.clock.advance(GRACE_S)
    for _ in range(3):
        world.erasure.run(stored.uid)
    assert world.keys("pr/ch/") == []
    assert not [pk for pk, _ in world.row_keys() if pk == "erase"]


def test_a_waiting_job_is_not_called_again_and_again(world: World) -> None:
    populate(world)
    world.catalog.delete_channel("pr", "ch")
    world.pump()
    world.clock.advance(120)
    assert world.erasure.resend_pending() == 0
    assert world.pump() == 0


def test_more_objects_than_one_run_deletes_are_deleted_over_several(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "_LISTED_AT_ONCE", 2)
    monkeypatch.setattr(erasure, "_LISTINGS_A_RUN", 2)
    stored = populate(world)[0]
    world.write(stored, count=11)
    world.catalog.delete_channel("pr", "ch")
    assert world.pump() == 3
    assert world.keys("pr/ch/") == []


def test_a_read_only_channel_may_be_kept(world: World) -> None:
    populate(world)
    world.catalog.update_channel("pr", "ch", readonly=True)
    assert not world.catalog.delete_channel("pr", "ch", keep_readonly=True)
    assert world.catalog.delete_channel("pr", "ch2", keep_readonly=True)
    assert [c.name for c in world.catalog.lists.channels_of("pr")] == ["ch"]


def test_deleting_what_is_not_there_is_not_found(world: World) -> None:
    for delete in DELETIONS.values():
        with pytest.raises(NotFoundError):
            delete(world.catalog)
    world.catalog.create_dataset(dataset())
    world.catalog.delete_dataset("ds")
    with pytest.raises(DatasetNotFoundError):
        world.catalog.delete_dataset("ds")
