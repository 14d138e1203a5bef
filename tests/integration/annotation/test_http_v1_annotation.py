"""RAMON objects as JSON documents over the v1 routes: made, read, changed and deleted."""

import json
from typing import Any

import pytest

from ndlambda.services.annotation import erasing
from tests.support.annotation_documents import OBJECTS, SYNAPSE, made, serving_objects, shown
from tests.support.app import Server, assert_problem, server_fixture

server = server_fixture(scope="function")


shared = server_fixture(serving_objects)


def change(server: Server, method: str, number: int, document: Any, match: str | None = None):
    headers = {} if match is None else {"If-Match": match}
    return server.call(method, f"{OBJECTS}/{number}", "alice", json=document, headers=headers)


def test_an_object_comes_back_with_all_its_fields_and_its_version(server):
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


@pytest.mark.parametrize(("document", "status", "error"), [
    ([], 400, "MalformedBodyError"), ([3], 400, "MalformedBodyError"),
    ("synapse", 400, "MalformedBodyError"), ({}, 422, "ValidationError"),
    ({"type": "cell"}, 422, "ValidationError"), ({"type": True}, 422, "ValidationError"),
    ({"type": "segment", "weight": 1.0}, 422, "ValidationError"),
    ({"type": "synapse", "weight": "heavy"}, 422, "ValidationError"),
    ({"type": "synapse", "id": -1}, 422, "ValidationError"),
    ({"type": "synapse", "id": 2**64}, 422, "ValidationError"),
    ({"type": "synapse", "id": 2**32}, 400, "InvalidArgumentError"),
    ({"type": "synapse", "pairs": ["a"]}, 422, "ValidationError"),
    ({"type": "synapse", "pairs": {"b\0c": "a"}}, 422, "ValidationError"),
    ({"type": "synapse", "author": "b\0c"}, 422, "ValidationError"),
    ([{"type": "seed", "id": 4}, {"type": "seed", "id": 4}], 400, "InvalidArgumentError"),
])  # fmt: skip
def test_objects_that_are_refused_are_not_stored(shared, document, status, error):
    with shared.unchanged():
        assert_problem(shared.post(OBJECTS, "alice", json=document), status, error)


def test_a_refusal_says_which_object_of_a_list_is_meant(shared):
    bad = {"type": "node", "radius": "x"}
    with shared.unchanged():
        for sent, field in (([SYNAPSE, bad], "1.radius"), (bad, "radius")):
            problem = assert_problem(
                shared.post(OBJECTS, "alice", json=sent), 422, "ValidationError"
            )
            assert [fault["field"] for fault in problem["errors"]] == [field]


def test_a_body_that_is_too_long_or_not_json_is_refused(shared):
    long = json.dumps({"type": "seed", "pairs": {"a": "x" * (4 << 20)}})
    assert_problem(shared.post(OBJECTS, "alice", data=long), 413, "PayloadTooLargeError")
    many = [{"type": "seed"}] * 10_001
    assert_problem(shared.post(OBJECTS, "alice", json=many), 413, "PayloadTooLargeError")
    for body in (b"", b"{", b'{"type": "seed", "type": "node"}', b"\x89HDF\r\n"):
        assert_problem(shared.post(OBJECTS, "alice", data=body), 400, "MalformedBodyError")


@pytest.mark.parametrize(("error", "words"), [
    ("NotFoundError", ("4", "0", str(2**64))),
    ("PathSyntaxError", ("-1", "seven", "9" * 5000, "٣")),
])  # fmt: skip
def test_ids_that_have_no_object(shared, error, words):
    for word in words:
        for method in ("GET", "PUT", "PATCH"):
            answer = shared.call(method, f"{OBJECTS}/{word}", "alice", json={"type": "segment"})
            assert_problem(answer, 404 if error == "NotFoundError" else 400, error)


def test_what_was_read_can_be_sent_back_as_it_is(server):
    (number,) = made(server, SYNAPSE)
    before = shown(server, number)
    after = change(server, "PUT", number, before).get_json()
    assert after.pop("version") != before.pop("version")
    assert after == before


@pytest.mark.parametrize("changes", [
    {"id": 2}, {"type": "segment"}, {"neuron": 3}, {"weight": "x"}, {"pairs": None},
    {"pairs": {"syn_weight": "1"}},
])  # fmt: skip
def test_changes_that_are_refused_change_nothing(shared, changes):
    with shared.unchanged():
        assert_problem(change(shared, "PATCH", 3, changes), 422, "ValidationError")
        assert_problem(change(shared, "PUT", 3, {"id": 2, **SYNAPSE}), 422, "ValidationError")
        assert_problem(change(shared, "PATCH", 3, [changes]), 400, "MalformedBodyError")


@pytest.mark.parametrize(("method", "document"), [("PUT", SYNAPSE), ("PATCH", {"status": 3})])
def test_if_match_takes_any_version_and_no_other_words(server, method, document):
    (number,) = made(server, SYNAPSE)
    first = server.get(f"{OBJECTS}/{number}").headers["ETag"]
    assert change(server, method, number, document, first).status_code == 200
    assert change(server, method, number, document, "*").status_code == 200
    with server.unchanged():
        late = change(server, method, number, document, first)
        assert_problem(late, 412, "PreconditionFailedError")
        for wrong in ('W/"1"', '"1", "2"', '"new"', '"-1"', f'"{"9" * 30}"'):
            refused = change(server, method, number, document, wrong)
            assert_problem(refused, 400, "InvalidArgumentError")


def test_a_deletion_has_no_version_and_may_be_a_worker_s(server, monkeypatch):
    (number,) = made(server, SYNAPSE)
    path = f"{OBJECTS}/{number}"
    with server.unchanged():
        headers = {"If-Match": server.get(path).headers["ETag"]}
        refused = server.call("DELETE", path, "alice", headers=headers)
        assert_problem(refused, 400, "InvalidArgumentError")
    eraser = type(server.runtime.annotation.ramon._eraser)
    with monkeypatch.context() as patched:
        patched.setattr(eraser, "erase", lambda self, channel, groups, *_: groups[0])
        answer = server.call("DELETE", path, "alice")
        assert (answer.status_code, answer.get_json()) == (202, {"pending": [number]})
    answer = server.call("DELETE", path, "alice")
    assert (answer.status_code, answer.data) == (204, b"")


def test_many_objects_are_deleted_at_once(server, monkeypatch):
    numbers = [made(server, SYNAPSE)[0] for _ in range(3)]
    body = {"ids": [*numbers, 4000]}
    answer = server.post(f"{OBJECTS}/delete", "alice", json=body)
    assert (answer.status_code, answer.data) == (204, b"")
    assert {server.get(f"{OBJECTS}/{number}").status_code for number in numbers} == {404}
    monkeypatch.setattr(erasing, "MAX_ERASED", 3)
    answer = server.post(f"{OBJECTS}/delete", "alice", json=body)
    assert (answer.status_code, answer.get_json()) == (202, {"pending": body["ids"]})


@pytest.mark.parametrize(
    "fields", [{}, {"ids": []}, {"ids": [0]}, {"ids": 7}, {"ids": [7], "a": 1}]
)
def test_deletions_that_cannot_be_meant_are_refused(server, fields):
    with server.unchanged():
        answer = server.post(f"{OBJECTS}/delete", "alice", json=fields)
        assert_problem(answer, 422, "ValidationError")


def test_a_change_in_part_is_made_again_on_what_another_has_changed(server, monkeypatch):
    """Seen to fail (the author was lost) when the version that was read was not insisted on."""
    (number,) = made(server, SYNAPSE)
    ramon = server.runtime.annotation.ramon
    update, overtaken = type(ramon).update, []

    def overtake(self, channel, value, *, if_version=None):
        if not overtaken:
            overtaken.append(self.set_field(channel, number, "author", "another"))
        update(self, channel, value, if_version=if_version)

    monkeypatch.setattr(type(ramon), "update", overtake)
    document = change(server, "PATCH", number, {"status": 2}).get_json()
    assert (document["status"], document["author"]) == (2, "another")
