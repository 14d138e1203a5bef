"""What a token opens."""

import pytest

from ndlambda.errors import ChannelNotFoundError
from ndlambda.services.catalog.project_view import ProjectView
from tests.support.catalog_world import channel, dataset, project, token


def view(*channels: tuple[str, bool]) -> ProjectView:
    made = tuple(channel(name, default=default) for name, default in channels)
    return ProjectView(token(), project(), dataset(), made)


def test_a_channel_is_found_by_name():
    assert view(("a", False), ("b", False)).channel("b").name == "b"
    with pytest.raises(ChannelNotFoundError):
        view(("a", False)).channel("b")


def test_the_default_channel_is_the_first_marked_else_the_first():
    assert view(("a", False), ("b", True), ("c", True)).default_channel().name == "b"
    assert view(("a", False), ("b", False)).default_channel().name == "a"
    with pytest.raises(ChannelNotFoundError):
        view().default_channel()


def test_several_channels_come_in_the_order_asked_for():
    some = view(("a", False), ("b", True))
    assert [c.name for c in some.channels_named(["b", "a", "default"])] == ["b", "a", "b"]
    own = view(("default", False), ("b", True))
    assert [c.name for c in own.channels_named(["default"])] == ["default"]
    with pytest.raises(ChannelNotFoundError):
        some.channels_named(["a", "0"])
