"""RAMON objects as JSON documents over the v1 routes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.test import TestResponse

from ndlambda.model.catalog import Channel
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.ramon.plain import TYPE_WORDS
from ndlambda.web.routing import discover
from tests.support.app import BRAIN, V1, Server, assert_problem, serving

BASE = f"{V1}/open/channels/labels"
OBJECTS = f"{BASE}/annotations"
ROUTES = [
    route
    for module in ("v1_annotation", "v1_annotation_voxels")
    for route in __import__(f"ndlambda.web.routes.{module}", fromlist=["ROUTES"]).ROUTES
]
SYNAPSE: dict[str, Any] = {
    "type": "synapse",
    "status": 1,
    "confidence": 0.75,
    "author": "ann",
    "weight": 0.5,
    "segments": [7, 9],
    "centroid": [10, 20, 3],
    "pairs": {"seen": "yes", "colour": "red"},
}


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    with serving(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose objects (segments 1 and 2, synapse 3) no test changes."""
    with serving(tmp_path_factory.mktemp("shared")) as server:
        made(server, {"type": "segment"}, {"type": "segment"}, SYNAPSE)
        yield server


def made(server: Server, *documents: dict[str, Any]) -> list[int]:
    answer = server.post(OBJECTS, "alice", json=list(documents))
    assert answer.status_code == 201, answer.text
    ids: list[int] = answer.get_json()["ids"]
    return ids


def shown(server: Server, number: int) -> dict[str, Any]:
    answer = server.get(f"{OBJECTS}/{number}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.get_json()
    return document


def change(server: Server, method: str, number: int, document: Any, match: str | None = None):
    headers = {} if match is None else {"If-Match": match}
    return server.call(method, f"{OBJECTS}/{number}", "alice", json=document, headers=headers)


# --- making and reading ---------------------------------------------------------------------


def test_an_object_comes_back_with_all_its_fields_and_its_version(server: Server) -> None:
    answer = server.post(OBJECTS, "alice", json=SYNAPSE)
    assert (answer.status_code, answer.get_json()) == (201, {"ids": [1]})
    got = server.get(answer.headers["Location"])
    document = got.get_json()
    version = document.pop("version")
    assert document == {
        **SYNAPSE,
        "id": 1,
        "synapse_type": 0,
        "seeds": [],
        "presegments": [],
        "postsegments": [],
        "derived": {},
    }
    assert got.headers["ETag"] == f'"{version}"'
    assert "ETag" in got.headers["Access-Control-Expose-Headers"]


def test_every_type_is_made_by_its_word(server: Server) -> None:
    words = list(TYPE_WORDS)
    ids = made(server, *[{"type": word} for word in words])
    assert [shown(server, number)["type"] for number in ids] == words


def test_several_objects_are_made_in_order_beside_chosen_ids(server: Server) -> None:
    ids = made(server, {"type": "segment"}, {"type": "neuron", "id": 10}, {"type": 2})
    assert ids[1] == 10
    assert len(set(ids)) == 3
    assert [shown(server, number)["type"] for number in ids] == ["segment", "neuron", "synapse"]


def test_lists_that_are_not_stored_are_shown_apart(server: Server) -> None:
    neuron, *segments = made(server, {"type": "neuron", "id": 5}, *[_segment(5), _segment(5)])
    assert shown(server, neuron)["derived"] == {"segments": sorted(segments)}


def _segment(neuron: int) -> dict[str, Any]:
    return {"type": "segment", "neuron": neuron}


def test_ids_of_64_bits_are_exact(tmp_path) -> None:
    wide = Channel("", "labels", ChannelType.ANNOTATION, DataType.UINT64)
    with serving(tmp_path) as server:
        server.add_volume(replace(BRAIN, name="wide"), wide)
        path = f"{V1}/wide/channels/labels/annotations"
        big = 2**64 - 2
        answer = server.post(path, "alice", json={"type": "segment", "id": big})
        assert answer.get_json() == {"ids": [big]}
        assert server.get(f"{path}/{big}").get_json()["id"] == big


@pytest.mark.parametrize(
    ("document", "status", "error"),
    [
        ([], 400, "MalformedBodyError"),
        ([3], 400, "MalformedBodyError"),
        ("synapse", 400, "MalformedBodyError"),
        ({}, 422, "ValidationError"),
        ({"type": "cell"}, 422, "ValidationError"),
        ({"type": True}, 422, "ValidationError"),
        ({"type": "segment", "weight": 1.0}, 422, "ValidationError"),
        ({"type": "synapse", "weight": "heavy"}, 422, "ValidationError"),
        ({"type": "synapse", "weight": None}, 422, "ValidationError"),
        ({"type": "synapse", "id": -1}, 422, "ValidationError"),
        ({"type": "synapse", "id": 1.0}, 422, "ValidationError"),
        ({"type": "synapse", "id": 2**64}, 422, "ValidationError"),
        ({"type": "synapse", "id": 2**32}, 400, "InvalidArgumentError"),
        ({"type": "synapse", "pairs": ["a"]}, 422, "ValidationError"),
        ({"type": "synapse", "pairs": {"syn_weight": "1"}}, 422, "ValidationError"),
        ({"type": "synapse", "pairs": {"a": None}}, 422, "ValidationError"),
        ({"type": "synapse", "pairs": {"a": "b\0c"}}, 422, "ValidationError"),
        ({"type": "synapse", "pairs": {"b\0c": "a"}}, 422, "ValidationError"),
        ({"type": "synapse", "author": "b\0c"}, 422, "ValidationError"),
        ([{"type": "seed", "id": 4}, {"type": "seed", "id": 4}], 400, "InvalidArgumentError"),
    ],
)
def test_objects_that_are_refused_are_not_stored(
    shared: Server, document: Any, status: int, error: str
) -> None:
    with shared.unchanged():
        assert_problem(shared.post(OBJECTS, "alice", json=document), status, error)


def test_a_refusal_says_which_object_of_a_list_is_meant(shared: Server) -> None:
    with shared.unchanged():
        answer = shared.post(OBJECTS, "alice", json=[SYNAPSE, {"type": "node", "radius": "x"}])
    (fault,) = assert_problem(answer, 422, "ValidationError")["errors"]
    assert fault["field"] == "1.radius"


def test_a_refusal_of_one_object_names_the_field_as_it_was_sent(shared: Server) -> None:
    answer = shared.post(OBJECTS, "alice", json={"type": "node", "radius": "wide"})
    (fault,) = assert_problem(answer, 422, "ValidationError")["errors"]
    assert fault["field"] == "radius"


def test_a_body_that_is_too_long_or_not_json_is_refused(shared: Server) -> None:
    long = json.dumps({"type": "seed", "pairs": {"a": "x" * (4 << 20)}})
    assert_problem(shared.post(OBJECTS, "alice", data=long), 413, "PayloadTooLargeError")
    many = [{"type": "seed"}] * 10_001
    assert_problem(shared.post(OBJECTS, "alice", json=many), 413, "PayloadTooLargeError")
    for body in (b"", b"{", b'{"type": "seed", "type": "node"}', b"\x89HDF\r\n"):
        assert_problem(shared.post(OBJECTS, "alice", data=body), 400, "MalformedBodyError")


def test_an_id_that_was_used_is_not_given_again(server: Server) -> None:
    made(server, {"type": "segment", "id": 7})
    again = server.post(OBJECTS, "alice", json={"type": "seed", "id": 7})
    assert_problem(again, 409, "AlreadyExistsError")
    assert shown(server, 7)["type"] == "segment"


@pytest.mark.parametrize(
    ("word", "status", "error"),
    [
        ("4", 404, "NotFoundError"),
        ("0", 404, "NotFoundError"),
        (str(2**64), 404, "NotFoundError"),
        ("-1", 400, "PathSyntaxError"),
        ("seven", 400, "PathSyntaxError"),
        ("9" * 5000, 400, "PathSyntaxError"),
        ("٣", 400, "PathSyntaxError"),
    ],
)
def test_ids_that_have_no_object(shared: Server, word: str, status: int, error: str) -> None:
    for method in ("GET", "PUT", "PATCH"):
        answer = shared.call(method, f"{OBJECTS}/{word}", "alice", json={"type": "segment"})
        assert_problem(answer, status, error)


# --- changing -------------------------------------------------------------------------------


def test_replacing_puts_what_is_left_out_back_to_its_default(server: Server) -> None:
    (number,) = made(server, SYNAPSE)
    answer = change(server, "PUT", number, {"type": "segment", "neuron": 3})
    document = answer.get_json()
    assert answer.status_code == 200
    assert (document["type"], document["neuron"], document["author"]) == ("segment", 3, "")
    assert document["pairs"] == {}
    assert shown(server, number) == document


def test_what_was_read_can_be_sent_back_as_it_is(server: Server) -> None:
    (number,) = made(server, SYNAPSE)
    before = shown(server, number)
    after = change(server, "PUT", number, before).get_json()
    assert after.pop("version") != before.pop("version")
    assert after == before


def test_changing_some_fields_leaves_the_others(server: Server) -> None:
    (number,) = made(server, SYNAPSE)
    changes = {"status": 2, "weight": None, "pairs": {"seen": None, "by": "eve"}}
    answer = change(server, "PATCH", number, changes)
    document = answer.get_json()
    assert answer.status_code == 200
    assert answer.headers["ETag"] == f'"{document["version"]}"'
    assert (document["status"], document["weight"], document["author"]) == (2, 0.0, "ann")
    assert document["segments"] == [7, 9]
    assert document["pairs"] == {"colour": "red", "by": "eve"}
    assert change(server, "PATCH", number, {}).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 2},
        {"type": "segment"},
        {"neuron": 3},
        {"weight": "x"},
        {"pairs": None},
        {"pairs": {"syn_weight": "1"}},
    ],
)
def test_changes_that_are_refused_change_nothing(shared: Server, changes: Any) -> None:
    with shared.unchanged():
        assert_problem(change(shared, "PATCH", 3, changes), 422, "ValidationError")
        assert_problem(change(shared, "PUT", 3, {"id": 2, **SYNAPSE}), 422, "ValidationError")
        assert_problem(change(shared, "PATCH", 3, [changes]), 400, "MalformedBodyError")


@pytest.mark.parametrize(("method", "document"), [("PUT", SYNAPSE), ("PATCH", {"status": 3})])
def test_if_match_insists_on_a_version(server: Server, method: str, document: Any) -> None:
    """Seen to fail (200 instead of 412) when ``if_version`` was not handed on."""
    (number,) = made(server, SYNAPSE)
    first = server.get(f"{OBJECTS}/{number}").headers["ETag"]
    second = change(server, method, number, document, first)
    assert second.status_code == 200
    with server.unchanged():
        late = change(server, method, number, document, first)
        assert_problem(late, 412, "PreconditionFailedError")
    assert change(server, method, number, document, second.headers["ETag"]).status_code == 200
    assert change(server, method, number, document, "*").status_code == 200
    for wrong in ('W/"1"', '"1", "2"', '"new"', '"-1"', f'"{"9" * 30}"'):
        refused = change(server, method, number, document, wrong)
        assert_problem(refused, 400, "InvalidArgumentError")


def test_a_change_in_part_is_made_again_on_what_another_has_changed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail (the author was lost) when the version that was read was not insisted on."""
    (number,) = made(server, SYNAPSE)
    ramon = server.runtime.ramon
    update, overtaken = type(ramon).update, []

    def overtake(self, channel, value, *, if_version=None):
        if not overtaken:
            overtaken.append(self.set_field(channel, number, "author", "another"))
        update(self, channel, value, if_version=if_version)

    monkeypatch.setattr(type(ramon), "update", overtake)
    document = change(server, "PATCH", number, {"status": 2}).get_json()
    assert (document["status"], document["author"]) == (2, "another")


def test_a_deleted_object_is_gone_and_deleting_it_again_is_no_error(server: Server) -> None:
    (number,) = made(server, SYNAPSE)
    etag = server.get(f"{OBJECTS}/{number}").headers["ETag"]
    with server.unchanged():
        path, headers = f"{OBJECTS}/{number}", {"If-Match": etag}
        refused = server.call("DELETE", path, "alice", headers=headers)
        assert_problem(refused, 400, "InvalidArgumentError")
    for _ in range(2):
        answer = server.call("DELETE", f"{OBJECTS}/{number}", "alice")
        assert (answer.status_code, answer.data) == (204, b"")
    assert_problem(server.get(f"{OBJECTS}/{number}"), 404, "NotFoundError")


def test_a_deletion_that_a_worker_completes_is_answered_202(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (number,) = made(server, SYNAPSE)
    eraser = type(server.runtime.ramon._eraser)
    monkeypatch.setattr(eraser, "erase", lambda self, channel, annotation_id: False)
    answer = server.call("DELETE", f"{OBJECTS}/{number}", "alice")
    assert (answer.status_code, answer.get_json()) == (202, {"pending": [number]})


# --- finding --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("library")) as server:
        made(
            server,
            SYNAPSE | {"id": 1},
            SYNAPSE | {"id": 2, "segments": [7], "confidence": 0.2, "author": "bea"},
            {"type": "segment", "id": 3, "neuron": 5, "status": 1, "pairs": {"a b": "1=2&3"}},
            {"type": "organelle", "id": 4, "centroid": [1, 2, 3], "pairs": {"colour": "red"}},
            {"type": "node", "id": 6, "parent": -1, "location": [0.5, 1, 2]},
            {"type": "roi", "id": 8, "parent": 4},
        )
        yield server


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, [1, 2, 3, 4, 6, 8]),
        ({"limit": "2"}, [1, 2]),
        ({"type": "synapse"}, [1, 2]),
        ({"type": "2"}, [1, 2]),
        ({"type": "Synapse", "author": "bea"}, [2]),
        ({"status": "1"}, [1, 2, 3]),
        ({"confidence_gt": "0.2"}, [1]),
        ({"confidence_lt": "0.75", "type": "synapse"}, [2]),
        ({"confidence_gt": "0.1", "confidence_lt": "0.7"}, [2]),
        ({"field.segments": "7"}, [1, 2]),
        ({"field.segments": ["7", "9"]}, [1]),
        ({"field.neuron": "5"}, [3]),
        ({"field.weight": "0.5", "field.status": "1"}, [1, 2]),
        ({"field.parent": "-1", "type": "node"}, [6]),
        ({"field.parent": "4", "type": "roi"}, [8]),
        ({"field.location": "0.5,1,2"}, [6]),
        ({"pair.colour": "red"}, [1, 2, 4]),
        ({"pair.colour": "red", "pair.seen": "yes"}, [1, 2]),
        ({"pair.a b": "1=2&3"}, [3]),
        ({"pair.colour": ["red", "blue"]}, []),
        ({"pair.weight": "0.5"}, []),
        ({"type": "seed"}, []),
    ],
)
def test_all_parameters_of_a_query_must_hold(
    library: Server, query: dict[str, Any], ids: list[int]
) -> None:
    answer = library.get(OBJECTS, query_string=query)
    assert (answer.status_code, answer.get_json()) == (200, {"ids": ids})


@pytest.mark.parametrize(
    "query",
    [
        "typ=synapse",
        "type=synapse&type=seed",
        "type=cell",
        "type=0",
        "type=10",
        "status=one",
        "status=1&status=2",
        "confidence_gt=high",
        "confidence=0.5",
        "limit=0",
        "limit=-1",
        "field.=3",
        "field.colour=red",
        "field.parent=4",
        "type=seed&field.weight=1",
        "field.weight=heavy",
        "field.segments=7,9",
        "field.segments=",
        "pair.=3",
        "pair.syn_weight=0.5",
        "pair.ann_type=2",
        "&".join(["pair.seen=yes"] * 33),
        "resolution=0",
        "x=0:5",
        "x=10:74&y=20:52&z=5:9&resolution=9",
        "x=10:74&t=0:2",
    ],
)
def test_questions_that_cannot_be_meant_are_refused(library: Server, query: str) -> None:
    answer = library.get(f"{OBJECTS}?{query}")
    assert answer.status_code == (404 if "resolution=9" in query else 400), answer.text


def test_the_most_frequent_keys_are_counted(library: Server) -> None:
    keys = library.get(f"{BASE}/keys").get_json()["keys"]
    assert keys[0] == {"key": "colour", "count": 3}
    assert {one["key"] for one in keys} == {"colour", "seen", "a b"}
    some = library.get(f"{BASE}/keys?type=segment&limit=1").get_json()
    assert some == {"keys": [{"key": "a b", "count": 1}]}
    for query in ("limit=0", "limit=x", "limit=10001", "type=cell", "count=3"):
        assert library.get(f"{BASE}/keys?{query}").status_code == 400


# --- ids and merging ------------------------------------------------------------------------


def test_reserved_ids_follow_one_another_and_are_given_once(server: Server) -> None:
    first = server.post(f"{BASE}/reserve", "alice", json={"count": 5})
    assert (first.status_code, first.get_json()) == (201, {"first": 1, "count": 5})
    assert server.post(f"{BASE}/reserve", "alice", json={"count": 1}).get_json()["first"] == 6
    assert made(server, {"type": "seed", "id": 3}) == [3]
    assert made(server, {"type": "seed"}) == [7]


@pytest.mark.parametrize(
    "fields", [{}, {"count": 0}, {"count": True}, {"count": "5"}, {"count": 5, "first": 1}]
)
def test_a_reservation_must_say_how_many(shared: Server, fields: Any) -> None:
    with shared.unchanged():
        answer = shared.post(f"{BASE}/reserve", "alice", json=fields)
        assert_problem(answer, 422, "ValidationError")


def test_more_ids_than_the_labels_have_are_a_conflict(server: Server) -> None:
    answer = server.post(f"{BASE}/reserve", "alice", json={"count": 2**32})
    assert_problem(answer, 409, "InvalidStateError")


def test_merging_objects_turns_references_to_the_survivor(server: Server) -> None:
    survivor, loser, synapse = made(
        server, {"type": "segment"}, {"type": "segment"}, {"type": "synapse", "segments": [2]}
    )
    for _ in range(2):
        answer = server.post(f"{BASE}/merge", "alice", json={"ids": [survivor, loser]})
        assert (answer.status_code, answer.get_json()) == (200, {"id": survivor})
    assert shown(server, synapse)["segments"] == [survivor]
    assert server.get(f"{OBJECTS}/{loser}").status_code == 404


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 422),
        ({"ids": [1]}, 422),
        ({"ids": "1,2"}, 422),
        ({"ids": [1, 0]}, 422),
        ({"ids": [1, 2], "resolution": "0"}, 422),
        ({"ids": [1, 2], "resolution": -1}, 422),
        ({"ids": [1, 2], "resolutions": 0}, 422),
        ({"ids": [1, 2], "box": [[0, 9]]}, 422),
        ({"ids": [1, 2], "box": {"x": [10]}}, 422),
        ({"ids": [1, 2], "box": {"x": [10, 20, 30]}}, 422),
        ({"ids": [1, 2], "box": {"x": [-1, 20]}}, 422),
        ({"ids": [1, 2], "box": {"x": ["10", 20]}}, 422),
        ({"ids": [1, 2], "box": {"w": [10, 20]}}, 422),
        ({"ids": [1, 2], "box": {"x": [20, 10]}}, 400),
        ({"ids": [1, 2], "box": {"x": [0, 20]}}, 400),
        ({"ids": [1, 1]}, 400),
        ({"ids": [1, 9]}, 404),
        ({"ids": [1, 2], "resolution": 9}, 404),
        ({"ids": [1, 2], "resolution": 9, "box": {}}, 404),
    ],
)
def test_merges_that_cannot_be_meant_are_refused(shared: Server, fields: Any, status: int) -> None:
    with shared.unchanged():
        answer = shared.post(f"{BASE}/merge", "alice", json=fields)
        assert answer.status_code == status, answer.text


# --- who may, and when ----------------------------------------------------------------------


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
