"""Deletions end once, whole and for good, whatever dies on the way."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from ndlambda.errors import (
    DatasetNotFoundError,
    InvalidStateError,
    NotFoundError,
    ProjectNotFoundError,
    TokenNotFoundError,
    UpstreamError,
)
from ndlambda.services.catalog.service import Catalog
from ndlambda.services.deletion import worker as erasure
from ndlambda.stores.ports import Check, Overwrite, Table
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
from tests.support.faults import Crash, FaultPlan, Wrapped

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


def _left(world: World) -> tuple[list[Any], list[str]]:
    """Let all work end, and return the rows and objects that are left (without random uids)."""
    world.let_all_work_end()
    parts = [info.key.split("/") for info in world.objects.list("")]
    return world.row_keys(), ["/".join([*names[:2], *names[3:]]) for names in parts]


def _copies(tmp_path: Path) -> Iterator[tuple[int, World]]:
    """Iterate over 1, 2, … and populated worlds."""
    first = disk_world(tmp_path / "populated")
    populate(first)
    for step in count(1):
        copytree(tmp_path / "populated", tmp_path / f"{step}")
        yield step, disk_world(tmp_path / f"{step}")


@pytest.mark.parametrize("what", DELETIONS)
@pytest.mark.parametrize("rescue", ["repeat", "worker", "lost messages"])
def test_a_deletion_that_dies_anywhere_ends_as_if_undisturbed(
    tmp_path: Path, what: str, rescue: str
) -> None:
    """Each step of the deletion is the last of its process once. (To die before a step is to die
    after the one before.)

    Where nothing can be seen of it, nothing was promised, and it is done again.

    Seen to fail: with the job stored after the mark instead of with it, the worker never hears of
    a project whose deletion died between the two; with the channel's row deleted before its job
    is stored, its objects stay.
    """
    delete = DELETIONS[what]
    copies = _copies(tmp_path)
    _, undisturbed = next(copies)
    delete(undisturbed.catalog)
    expected = _left(undisturbed)
    for step, world in copies:
        plan = FaultPlan(step - 2, "after") if step > 2 else FaultPlan(1, "before")
        with suppress(Crash):
            delete(world.services(plan)[1])
        if not plan.fired:
            assert step > 4
            return
        begun = _reads_as_gone(world, what)
        if rescue == "lost messages":
            world.lose_messages()
        if rescue == "repeat" or not begun:
            with suppress(NotFoundError):  # the first attempt came far enough
                delete(world.catalog)
            assert _catalogue(world.row_keys()) == _catalogue(expected[0]), plan.log
        assert _left(world) == expected, plan.log


def _catalogue(keys: list[Any]) -> list[Any]:
    return [key for key in keys if key[0] != "erase"]


def _reads_as_gone(world: World, what: str) -> bool:
    try:
        LOOKS[what](world.services()[1])
    except NotFoundError:
        return True
    return False


def test_a_worker_that_dies_anywhere_is_replaced(tmp_path: Path) -> None:
    """Each step of the worker is the last of its process once, its message then comes again."""
    for step, world in _copies(tmp_path):
        world.catalog.delete_project("pr")
        plan = FaultPlan(step)
        worker, _ = world.services(plan)
        with suppress(Crash):
            world.pump(worker)
            world.clock.advance(GRACE_S)
            world.pump(worker)
        world.clock.advance(61)  # what was received and not acknowledged is visible again
        world.let_all_work_end()
        assert not [pk for pk, _ in world.row_keys() if pk == "erase"], plan.log
        assert world.keys("pr/") == []
        assert len(world.keys("pr2/")) == 3
        if not plan.fired:
            return


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
        # get, send, get (the owner), transact: the project is marked, and nothing more happens
        world.services(FaultPlan(4))[1].delete_project("pr")
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
        world.services(FaultPlan(4))[1].delete_dataset("ds")
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


class Overtaken:
    """A table before whose first removal something else happens."""

    def __init__(self, table: Table, meanwhile: Callable[[], None]) -> None:
        self._table = table
        self._meanwhile: Callable[[], None] | None = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def transact(self, actions: Any) -> None:
        if self._meanwhile is not None and isinstance(actions[0], Check):
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        self._table.transact(actions)


def _overtaken(world: World, meanwhile: Callable[[], None]) -> Catalog:
    table: Any = Overtaken(world.table, meanwhile)
    return World(table, world.objects, world.queue, world.clock).catalog


def test_an_overtaken_worker_does_not_remove_a_new_project_of_the_same_name(world: World) -> None:
    """Seen to fail without the check of the marked row: the new channel is gone."""
    populate(world)
    world.catalog.delete_token("tk")
    world.catalog.delete_token("tk2")

    def meanwhile() -> None:
        world.services()[1].delete_project("pr")
        world.catalog.create_project(project())
        world.catalog.create_channel(channel())

    _overtaken(world, meanwhile).delete_project("pr")
    assert [c.name for c in world.catalog.lists.channels_of("pr")] == ["ch"]


def test_a_token_moved_to_another_project_meanwhile_survives(world: World) -> None:
    """Seen to fail without the version of the listing row: the token of the other is gone."""
    populate(world)

    def meanwhile() -> None:
        world.catalog.delete_token("tk")
        world.catalog.create_token(token(project="pr2"))

    _overtaken(world, meanwhile).delete_project("pr")
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
        world.erasure.sweep()
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


def test_a_first_step_that_fails_holds_back_only_the_end(world: World) -> None:
    stored = populate(world)[0]
    failing = True
    swept: list[str] = []

    def step(uid: str, deleted_at: float) -> None:
        if failing:
            raise UpstreamError("The disk is full.")

    def sweep(uid: str) -> bool:
        swept.append(uid)
        return True

    world.erasure.add_first(step)
    world.erasure.add_last(sweep)
    world.catalog.delete_channel("pr", "ch")
    for _ in range(2):
        world.erasure.run(stored.uid)
        assert world.keys("pr/ch/") == []
        world.clock.advance(GRACE_S)
    assert not swept
    failing = False
    world.pump()
    assert swept == [stored.uid]
    assert not [pk for pk, _ in world.row_keys() if pk == "erase"]


def test_a_waiting_job_is_not_called_again_and_again(world: World) -> None:
    populate(world)
    world.catalog.delete_channel("pr", "ch")
    world.pump()
    world.clock.advance(120)
    world.erasure.sweep()
    assert world.pump() == 0


def test_more_objects_than_one_run_deletes_are_deleted_over_several(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "_OBJECTS_A_LISTING", 2)
    monkeypatch.setattr(erasure, "_LISTINGS_A_RUN", 2)
    stored = populate(world)[0]
    world.write(stored, count=11)
    world.catalog.delete_channel("pr", "ch")
    assert world.pump() == 3
    assert world.keys("pr/ch/") == []


def test_a_second_worker_does_not_join_in(world: World) -> None:
    """While a worker deletes objects, its job is looked after for a quarter of an hour.

    Seen to fail where ``take`` leaves the job due: it is overdue after a minute.
    """
    populate(world)
    world.catalog.delete_channel("pr", "ch")
    enqueued: list[int] = []

    def delete_slowly(delete_many: Callable[[Any], None], keys: Any) -> None:
        for _ in range(14):
            world.clock.advance(60)
            world.erasure.sweep()
            enqueued.append(sum('"again"' in each.body for each in world.queue.receive()))
        delete_many(keys)

    slow = World(
        world.table, Wrapped(world.objects, delete_many=delete_slowly), world.queue, world.clock
    )
    assert slow.pump() == 1
    assert enqueued == [0] * 14
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
