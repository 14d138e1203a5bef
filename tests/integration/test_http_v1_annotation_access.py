"""Who may use the v1 routes of objects, when, and what the interface says of them."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from werkzeug.test import TestResponse

from ndlambda.model.catalog import Channel
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.web.routing import discover
from tests.support.annotation_documents import OBJECTS, serving_objects
from tests.support.app import V1, Server, assert_problem, serving

ROUTES = [
    route
    for module in ("annotation", "annotation_voxels")
    for route in import_module(f"ndlambda.web.routes.v1.{module}").ROUTES
]


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    with serving(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving_objects(tmp_path_factory.mktemp("shared")) as server:
        yield server


def call(server: Server, method: str, rule: str, token: str, channel: str, user: str | None):
    path = rule.replace("<name:token>", token).replace("<name:channel>", channel)
    return server.call(method, path.replace("<segment:annotation>", "1"), user, json={})


def told(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json(force=True)["type"].rpartition(":")[2]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method}-{route.rule[48:]}")
def test_every_route_asks_who_is_there(shared: Server, route: Any) -> None:
    """Seen to fail for a route that opened the channel with ``write=False`` and wrote."""
    writes = route.method != "GET"
    with shared.unchanged():
        for user in (None, "bob"):
            status, _ = told(call(shared, route.method, route.rule, "closed", "labels", user))
            assert status == (401 if user is None else 403)
            answer = call(shared, route.method, route.rule, "open", "labels", user)
            if writes:
                assert answer.status_code in {401, 403}
            else:
                assert answer.status_code in {200, 400}
        unknown = call(shared, route.method, route.rule, "open", "nowhere", "alice")
        assert told(unknown) == (404, "ChannelNotFoundError")
        image = call(shared, route.method, route.rule, "open", "em", "alice")
        assert told(image) == (400, "InvalidArgumentError")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method}-{route.rule[48:]}")
def test_every_route_refuses_parameters_that_it_does_not_know(shared: Server, route: Any) -> None:
    with shared.unchanged():
        rule = f"{route.rule}?resolutoin=0"
        answer = call(shared, route.method, rule, "open", "labels", "alice")
        document = assert_problem(answer, 400, "InvalidArgumentError")
        assert document["parameter"] == "resolutoin"


@pytest.mark.parametrize(
    ("channel", "status", "error"),
    [
        (Channel("pr", "closed", ChannelType.ANNOTATION, DataType.UINT32, readonly=True),
         403, "ReadOnlyChannelError"),
        (Channel("pr", "busy", ChannelType.ANNOTATION, DataType.UINT32, propagate=1),
         409, "InvalidStateError"),
    ],
)  # fmt: skip
def test_a_channel_that_takes_no_writes_is_read_only(
    server: Server, channel: Channel, status: int, error: str
) -> None:
    server.runtime.catalog.create_channel(channel)
    with server.unchanged():
        for route in ROUTES:
            if route.method != "GET":
                answer = call(server, route.method, route.rule, "open", channel.name, "alice")
                assert told(answer) == (status, error), route
    assert server.get(f"{V1}/open/channels/{channel.name}/annotations").status_code == 200


def test_the_document_of_the_interface_describes_every_route(shared: Server) -> None:
    paths = shared.get("/openapi.json").get_json()["paths"]
    assert {route.rule for route in ROUTES} <= {
        route.rule for route in discover("ndlambda.web.routes")
    }
    for route in ROUTES:
        path = route.rule.replace("<name:token>", "{token}").replace("<name:channel>", "{channel}")
        operation = paths[path.replace("<segment:annotation>", "{annotation}")][
            route.method.lower()
        ]
        assert operation["summary"]
        assert ("requestBody" in operation) == (route.method in {"POST", "PUT", "PATCH"})


def test_methods_are_told_where_one_is_not_for_a_path(shared: Server) -> None:
    answer = shared.call("POST", f"{OBJECTS}/1", "alice", json={})
    assert_problem(answer, 405, "MethodNotAllowedError")
    assert set(answer.headers["Allow"].split(", ")) >= {"GET", "PUT", "PATCH", "DELETE"}
    asked = shared.call("OPTIONS", f"{OBJECTS}/1")
    assert set(asked.headers["Allow"].split(", ")) >= {"GET", "PUT", "PATCH", "DELETE"}
    # As for other routes, pages of elsewhere may read only.
    assert asked.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"
