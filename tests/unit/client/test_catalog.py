import pytest

from ndlambda import errors
from tests.support.fake_server import FakeServer

SIZE = {"ximagesize": 10, "yimagesize": 20, "zimagesize": 30}


@pytest.fixture
def server():
    return FakeServer()


def test_things_are_made_listed_found_and_deleted_at_every_level(server):
    client = server.client()
    assert client.datasets.create("ds", **SIZE)["dataset_name"] == "ds"
    client.datasets.create("ds", **SIZE)
    with pytest.raises(errors.AlreadyExistsError):
        client.datasets.create("ds", **SIZE | {"ximagesize": 11})
    client.projects("ds").create("pr", public=1)
    client.channels("ds", "pr").create(
        "ch", channel_type="image", channel_datatype="uint8", starttime=0, endtime=1
    )
    client.tokens("ds", "pr").create("tok")
    assert [thing["project_name"] for thing in client.projects("ds").list()] == ["pr"]
    assert client.channels("ds", "pr").get("ch")["channel_datatype"] == "uint8"
    assert client.list_tokens()[0]["dataset"] == "ds"
    assert client.info("tok")["channels"]["ch"]["timerange"] == [0, 1]
    client.tokens("ds", "pr").delete("tok")
    assert client.tokens("ds", "pr").find("tok") is None
    client.datasets.delete("ds")
    assert client.datasets.list() == []


def test_refused_fields_are_named(server):
    with pytest.raises(errors.ValidationError, match="ximagesize") as caught:
        server.client().datasets.create("ds", **SIZE | {"ximagesize": -1})
    assert caught.value.details["errors"][0]["field"] == "ximagesize"


def test_names_cannot_leave_their_place_in_the_path_and_a_wrong_key_is_told(server):
    with pytest.raises(errors.NDLambdaError):
        server.client().datasets.get("../users")
    assert server.calls[-1].path != "/v1/users"
    with pytest.raises(errors.AuthenticationError):
        server.client(key="wrong").datasets.list()


@pytest.mark.parametrize(("limit", "asked"), [
    (None, [None, None]), (1001, ["1000", "1"]), (1000, ["1000"]), (5, ["5"]), (9999, ["1000"] * 2),
])  # fmt: skip
def test_long_lists_are_asked_for_page_by_page(server, limit, asked):
    """Seen to fail with the first page taken for all."""
    names = [f"u{number}" for number in range(1500)]
    server.people = {name: {"name": name} for name in names}
    found = server.client().users.list(limit)
    assert [each["name"] for each in found] == names[:limit]
    assert [call.query.get("limit") for call in server.calls] == asked
