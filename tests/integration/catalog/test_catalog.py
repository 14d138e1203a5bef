"""The catalogue on SQLite and on DynamoDB (moto)."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ndlambda.errors import (
    AlreadyExistsError,
    ChannelNotFoundError,
    DatasetNotFoundError,
    InvalidArgumentError,
    InvalidStateError,
    PreconditionFailedError,
    ProjectNotFoundError,
    TokenNotFoundError,
    ValidationError,
)
from ndlambda.model.principal import ANONYMOUS, Principal
from ndlambda.services.access.service import Access
from ndlambda.services.catalog import keys
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.services.catalog.service import Catalog
from ndlambda.stores.ports import Put, Row, Table
from ndlambda.testing.counting import CountingTable
from ndlambda.testing.threads import run_together
from tests.support.catalog_world import (
    GRACE_S,
    OWNER,
    World,
    channel,
    dataset,
    disk_world,
    moto_world,
    populate,
    project,
    token,
)


@pytest.fixture
def world(tmp_path):
    return disk_world(tmp_path / "world")


@pytest.fixture(params=["disk", "moto"])
def either(request):
    """A world on either kind of stores, for what hangs on their conditions, order and pages."""
    if request.param == "disk":
        return request.getfixturevalue("world")
    return moto_world(request.getfixturevalue("moto_config"))


@dataclass
class Overtaken:
    """A table before whose first transaction something else happens."""

    table: Table
    meanwhile: Callable[[], object]
    happened: bool = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.table, name)

    def transact(self, actions: Any) -> None:
        if not self.happened:
            self.happened = True
            self.meanwhile()
        self.table.transact(actions)


def overtaken(world: World, meanwhile: Callable[[], object]) -> Catalog:
    """Return the catalogue of a process that is overtaken before its first transaction."""
    table: Any = Overtaken(world.table, meanwhile)
    return World(table, world.objects, world.queue, world.clock).catalog


def test_what_is_made_is_found(world):
    made = populate(world)
    catalog = world.services()[1]
    assert catalog.get_dataset("ds") == dataset()
    assert catalog.get_project("pr") == project()
    assert catalog.get_token("tk") == token()
    stored = catalog.get_channel("pr", "ch")
    assert stored == made[0]
    assert stored == channel(id=stored.id, uid=stored.uid)
    assert stored.uid


def test_what_is_not_there_is_not_found(world):
    catalog = world.catalog
    for error, act in (
        (DatasetNotFoundError, lambda: catalog.get_dataset("ds")),
        (ProjectNotFoundError, lambda: catalog.get_channel("pr", "ch")),
        (TokenNotFoundError, lambda: catalog.project_view("tk")),
        (DatasetNotFoundError, lambda: catalog.create_project(project())),
        (ProjectNotFoundError, lambda: catalog.create_token(token())),
        (ProjectNotFoundError, lambda: catalog.create_channel(channel())),
    ):
        with pytest.raises(error):
            act()
    populate(world)
    with pytest.raises(ChannelNotFoundError):
        catalog.get_channel("pr", "no")


def test_a_token_opens_its_project_with_the_channels_in_order(world):
    populate(world)
    world.catalog.create_channel(channel("a", default=True))
    view = world.catalog.project_view("tk")
    assert (view.token, view.project, view.dataset) == (token(), project(), dataset())
    assert [c.name for c in view.channels] == ["ch", "ch2", "a"]
    assert view.default_channel().name == "a"


CREATIONS: dict[str, Callable[[Catalog, str], Any]] = {
    "dataset": lambda catalog, text: catalog.create_dataset(dataset(description=text)),
    "project": lambda catalog, text: catalog.create_project(project(description=text)),
    "token": lambda catalog, text: catalog.create_token(token(description=text)),
    "channel": lambda catalog, text: catalog.create_channel(channel(description=text)),
}


@pytest.mark.parametrize("what", CREATIONS)
def test_making_the_same_again_is_success_and_another_is_not(world, what):
    populate(world)
    create = CREATIONS[what]
    assert create(world.catalog, "") == create(world.catalog, "")
    with pytest.raises(AlreadyExistsError):
        create(world.catalog, "different")
    with pytest.raises(AlreadyExistsError):
        world.catalog.create_dataset(dataset(user_id=OWNER + 1))


def test_of_many_who_take_one_name_one_succeeds(either):
    """Seen to fail with ``expect="any"`` where the row of the thing is put."""
    catalog = either.catalog
    looks: dict[str, Callable[[], Any]] = {
        "dataset": lambda: catalog.get_dataset("ds"),
        "project": lambda: catalog.get_project("pr"),
        "token": lambda: catalog.get_token("tk"),
        "channel": lambda: catalog.get_channel("pr", "ch"),
    }
    for what, create in CREATIONS.items():

        def make(number, create=create):
            with suppress(AlreadyExistsError):
                create(either.services()[1], f"of {number}")
                return number

        winners = [number for number in run_together(4, make) if number is not None]
        assert len(winners) == 1, what
        assert looks[what]().description == f"of {winners[0]}"


def test_of_many_who_make_the_same_channel_all_get_the_one(either):
    populate(either)
    made = run_together(4, lambda _: either.services()[1].create_channel(channel("new")))
    assert len({c.uid for c in made}) == 1
    assert len({c.id for c in made}) == 1


def test_nothing_is_made_under_what_is_deleted_meanwhile(world):
    """A project is deleted between the look at it and the making of its channel. Seen to fail
    without the check of the parent: the channel is an orphan."""
    populate(world)
    slow = overtaken(world, lambda: world.catalog.delete_project("pr"))
    with pytest.raises(ProjectNotFoundError):
        slow.create_channel(channel("orphan"))
    assert world.catalog.lists.channels_of("pr") == []


def test_a_channel_of_a_resolution_that_the_dataset_lacks_is_refused(world):
    populate(world)
    with pytest.raises(ValidationError, match="resolution"):
        world.catalog.create_channel(channel("deep", resolution=1))


def test_a_channel_is_changed(world):
    populate(world)
    before = world.catalog.project_view("tk").channel("ch")
    changed = world.catalog.update_channel("pr", "ch", readonly=True, endwindow=9)
    assert changed == replace(before, readonly=True, endwindow=9)
    assert world.catalog.project_view("tk").channel("ch") == changed
    with pytest.raises(InvalidArgumentError):
        world.catalog.update_channel("pr", "ch", uid="mine")
    with pytest.raises(ChannelNotFoundError):
        world.catalog.update_channel("pr", "no", readonly=True)


def test_what_changes_with_a_channel_changes_together_or_not(either):
    populate(either)
    other = Row("other", "row", doc={"a": 1})
    either.catalog.update_channel("pr", "ch", also=[Put(other, "absent")], propagate=1)
    assert either.table.get("other", "row") is not None
    with pytest.raises(PreconditionFailedError):
        either.catalog.update_channel("pr", "ch", also=[Put(other, "absent")], propagate=2)
    assert either.catalog.get_channel("pr", "ch").propagate == 1


def test_of_two_who_ask_for_one_transition_one_succeeds(world):
    """The other succeeds between the first one's look and its change. Seen to fail without
    ``expect`` where the changed row is put: both succeed."""
    populate(world)

    def begin(catalog: Catalog) -> None:
        catalog.update_channel("pr", "ch", expect={"propagate": 0}, propagate=1)

    slow = overtaken(world, lambda: begin(world.catalog))
    with pytest.raises(InvalidStateError):
        begin(slow)
    assert world.catalog.get_channel("pr", "ch").propagate == 1


def test_changes_of_several_attributes_at_once_do_not_lose_each_other(either):
    populate(either)
    changes: list[dict[str, Any]] = [{"readonly": True}, {"header": "h"}, {"endwindow": 3}]
    run_together(3, lambda n: either.services()[1].update_channel("pr", "ch", **changes[n]))
    stored = either.services()[1].get_channel("pr", "ch")
    assert (stored.readonly, stored.header, stored.endwindow) == (True, "h", 3)


def test_a_process_sees_its_own_changes_at_once(world):
    populate(world)
    catalog = world.catalog
    assert not catalog.project_view("tk").channel("ch").readonly
    assert catalog.lists.public_tokens() == []
    catalog.update_channel("pr", "ch", readonly=True)
    catalog.create_token(token("open", public=True))
    assert catalog.project_view("tk").channel("ch").readonly
    assert catalog.lists.public_tokens() == ["open"]
    catalog.delete_token("tk")
    with pytest.raises(TokenNotFoundError):
        catalog.project_view("tk")


def test_a_change_of_another_process_is_hidden_for_the_cache_time_only(world):
    populate(world)
    other = world.services()[1]
    assert other.project_view("tk").token == token()
    world.catalog.delete_token("tk")
    world.clock.advance(5)
    with pytest.raises(TokenNotFoundError):
        other.project_view("tk")


def test_a_writer_never_gets_a_channel_that_another_process_made_again(world):
    """Seen to fail with a cached view: voxels acknowledged to the client went under the uid
    of the deleted channel, where no process reads and the eraser sweeps."""
    populate(world)
    _, other = world.services()
    access = Access(other, anonymous_write=False)
    owner = Principal(OWNER, "owner")
    access.open("tk", owner)
    world.catalog.delete_channel("pr", "ch")
    again = world.catalog.create_channel(channel())
    assert access.open("tk", owner, write=True).channel("ch") == again


def test_a_cached_view_asks_no_store(world):
    """Names that are too long are not found, and not cached. Seen to fail: unknown names stayed in
    memory, as long as a client liked to make them."""
    with pytest.raises(TokenNotFoundError):
        world.catalog.project_view("x" * 100_000)
    populate(world)
    view = world.catalog.project_view("tk")
    assert world.catalog.project_view("tk") is view


def _datasets(catalog: Catalog, principal: Principal) -> list[str]:
    return [found.name for found in catalog.slices.datasets(principal, "", 9).items]


def _tokens(catalog: Catalog, principal: Principal) -> list[str]:
    return [found.name for found, _ in catalog.slices.tokens(principal, "", 9).items]


def test_lists_hold_what_is_public_and_what_is_own(either):
    catalog = either.catalog
    ann, bob, root = Principal(OWNER, "ann"), Principal(8, "bob"), Principal(1, "r", superuser=True)
    populate(either)
    catalog.create_dataset(dataset("shown", public=True))
    catalog.create_project(project("shown", public=True, user_id=8))
    catalog.create_token(token("shown", public=True))
    assert catalog.lists.public_datasets() == ["shown"]
    assert catalog.lists.public_tokens() == ["shown"]
    assert _datasets(catalog, ann) == ["ds", "shown"]
    assert _datasets(catalog, bob) == _datasets(catalog, ANONYMOUS) == ["shown"]
    assert _tokens(catalog, root) == ["shown", "tk", "tk2", "tk3"]
    assert _tokens(catalog, bob) == ["shown"]
    assert catalog.lists.projects_of("ds", ann) == ["pr", "pr2", "shown"]
    assert catalog.lists.projects_of("ds", ANONYMOUS) == ["shown"]
    assert catalog.lists.projects_of("shown", root) == []
    assert catalog.lists.owners_of_projects("ds") == {OWNER, 8}
    assert catalog.lists.tokens_of("pr") == ["shown", "tk", "tk2"]
    assert [c.name for c in catalog.lists.channels_of("pr")] == ["ch", "ch2"]


def test_deleting_a_dataset_takes_all_of_it_and_the_voxels(either):
    made = populate(either)
    either.catalog.delete_dataset("ds")
    assert either.pump() == len(made), "the queue calls the worker"
    root = Principal(1, "root", superuser=True)
    assert _datasets(either.catalog, root) == _tokens(either.catalog, root) == []
    assert either.keys() == []
    either.clock.advance(GRACE_S)
    for stored in made:
        either.erasure.run(stored.uid)
    assert either.table.query("erase").rows == []
    populate(either)
    assert len(either.keys()) == 9


def views_of(world: World) -> tuple[CountingTable, Catalog]:
    """Return the catalogue of another process, and its table, which counts."""
    table = CountingTable(world.table)
    return table, World(table, world.objects, world.queue, world.clock).catalog


def fresh_view(table: CountingTable, catalog: Catalog) -> tuple[ProjectView, int]:
    """Return a view as writers read it, and the requests that it took."""
    table.counts.reset()
    return catalog.project_view("tk", fresh=True), table.counts.requests


def test_a_writer_reads_the_catalogue_in_two_requests_where_it_was_read_before(either):
    populate(either)
    table, catalog = views_of(either)
    first, second = (fresh_view(table, catalog) for _ in range(2))
    assert first[0] == second[0]
    assert (first[1], second[1]) == (3, 2)


def test_a_project_whose_row_does_not_name_its_dataset_takes_one_request_more(world):
    """As rows were written before."""
    populate(world)
    row = world.table.get(*keys.project_key("pr"))
    doc = {name: value for name, value in row.doc.items() if name != "dataset_uid"}
    world.table.put(replace(row, doc=doc))
    table, catalog = views_of(world)
    assert [fresh_view(table, catalog)[1] for _ in range(2)] == [3, 3]


def test_a_view_never_joins_a_project_to_a_deleted_dataset_of_the_same_name(world):
    """Seen to fail where the dataset that was read first is taken: voxels of the new channel would
    be placed by the size of the old dataset."""
    populate(world)
    catalog = World(world.table, world.objects, world.queue, world.clock).catalog
    catalog.project_view("tk")
    grown = replace(dataset(), imagesize_xyz=(999, 999, 99))

    class Overtaken(CountingTable):
        def batch_get(self, wanted: Any) -> Any:
            found = super().batch_get(wanted)
            world.table.put(keys.dataset_row(grown, "new"))
            world.table.put(keys.project_row(project(), "new", "new"))
            return found

    catalog._table = Overtaken(world.table)
    assert catalog.project_view("tk", fresh=True).dataset == grown
