"""What a token opens."""

from dataclasses import replace

import pytest

from ndlambda.errors import ChannelNotFoundError
from ndlambda.services.catalog import keys
from ndlambda.services.catalog.project_view import ManyChannels, ProjectView
from ndlambda.testing.memory import MemoryTable
from tests.support.catalog_world import channel, dataset, project, token

ROW = keys.project_row(project(), "project-1", "dataset-1")


@pytest.fixture
def table():
    return MemoryTable()


@pytest.fixture(params=["read with the project", "read one by one"])
def view(request, table):
    """Returns the view of a project with channels, by name and whether they are the default."""

    def viewed(*channels: tuple[str, bool]) -> ProjectView:
        made = tuple(
            channel(name, default=default, id=number)
            for number, (name, default) in enumerate(channels)
        )
        if request.param == "read with the project":
            return ProjectView(token(), project(), dataset(), made)
        table.put(ROW)
        for one in made:
            table.put(keys.channel_row(one))
        return ProjectView(token(), project(), dataset(), ManyChannels(table, ROW))

    return viewed


def test_a_channel_is_found_by_name(view):
    some = view(("b", False), ("a", False))
    assert some.channel("a").name == "a"
    assert [one.name for one in some.channels] == ["b", "a"]
    assert len(some.channels) == 2
    assert [len(some.some_channels(limit)) for limit in (1, 2, 3)] == [1, 2, 2]
    for name in ("c", "", "a/b", "x" * 5000, "\ud800"):
        assert some.find_channel(name) is None
        with pytest.raises(ChannelNotFoundError):
            some.channel(name)


def test_the_default_channel_is_the_first_marked_else_the_first(view):
    assert view(("a", False), ("b", False)).default_channel().name == "a"
    assert view(("a", False), ("b", True), ("c", True)).default_channel().name == "b"


def test_a_project_without_channels_has_no_default_one(view):
    with pytest.raises(ChannelNotFoundError):
        view().default_channel()


def test_several_channels_come_in_the_order_asked_for(view):
    some = view(("a", False), ("b", True))
    assert [c.name for c in some.channels_named(["b", "a", "default"])] == ["b", "a", "b"]
    with pytest.raises(ChannelNotFoundError):
        some.channels_named(["a", "0"])


def test_a_channel_may_be_called_default(view):
    own = view(("default", False), ("b", True))
    assert [c.name for c in own.channels_named(["default"])] == ["default"]


@pytest.mark.parametrize(
    "after",
    [keys.marked_deleting(ROW), None, keys.project_row(project(), "project-2", "dataset-1")],
    ids=["deleting", "deleted", "made again"],
)
def test_channels_of_another_project_of_the_name_are_not_found(table, after):
    """Seen to fail where channels are read by name alone: who saw the project that was deleted
    would see the channels of the one that somebody else made in its place."""
    table.put(ROW)
    known, fresh = channel("known"), channel("fresh")
    table.put(keys.channel_row(known))
    some = ManyChannels(table, ROW)
    assert some.find("known") == known
    table.delete(ROW.pk, ROW.sk)
    if after is not None:
        table.put(replace(after, version=0))
    table.put(keys.channel_row(fresh))
    assert some.find("fresh") is None
    assert list(some) == []
