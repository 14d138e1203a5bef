"""Names and JSON that the catalogue refuses: all faults told at once, and nothing written."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.support.app import BOX, assert_problem, server_fixture, v1_cutout

_PROJECT = ("/resource/dataset/brain/project/", "/v1/datasets/brain/projects/")

SIZES = {"ximagesize": 30, "yimagesize": 20, "zimagesize": 10}
CHANNEL = {"channel_type": "image", "channel_datatype": "uint8"}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "dataset": ("/resource/dataset/{}", "/v1/datasets/{}", SIZES),
    "project": (_PROJECT[0] + "{}", _PROJECT[1] + "{}", {}),
    "channel": (_PROJECT[0] + "pr/channel/{}", _PROJECT[1] + "pr/channels/{}", CHANNEL),
    "token": (_PROJECT[0] + "pr/token/{}", _PROJECT[1] + "pr/tokens/{}", {}),
}
BAD_NAMES = {
    "a dot": "a.b", "only dots": "..", "a comma": "a,b", "unicode letters": "größe",
    "unicode digits": "a١", "3000 characters": "n" * 3000, "a NUL": "a\0b", "a line feed": "a\nb",
    "a percent": "100%", "a tag": "<b>",
}  # fmt: skip
"""As URLs carry them; which names are bad is a test of ``model.fields``."""


server = server_fixture()


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_bad_names_are_refused(server, name):
    for legacy, v1, fields in KINDS.values():
        for rule in (legacy, v1):
            path = rule.format(quote(name, safe=""))
            with server.unchanged():
                answer = server.post(path, "alice", json=fields)
                # A line feed may end a path for the router, as for everybody who logs one.
                lost = answer.status_code == 404 and "\n" in name
                refused = (404, "RouteNotFoundError") if lost else (400, "InvalidNameError")
                assert_problem(answer, *refused)
                assert server.get(path, "alice").status_code == 404
                assert server.call("DELETE", path, "alice").status_code in {400, 404}


@pytest.mark.parametrize("name", ["a/b", "../up", "a%2Fb", "%2e%2e%2fup"])
def test_names_with_slashes_reach_no_route_that_writes(server, name):
    with server.unchanged():
        for legacy, v1, fields in KINDS.values():
            for path in (legacy, v1):
                answer = server.post(path.format(name), "alice", json=fields)
                assert answer.status_code in {404, 405}
                assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_bad_names_in_cutouts_name_nothing(server, name):
    quoted = quote(name, safe="")
    with server.unchanged():
        for path in (
            f"/sd/open/{quoted}/npz/{BOX}",
            f"/sd/{quoted}/em/npz/{BOX}",
            v1_cutout("open", quoted),
            v1_cutout(quoted, "em"),
            f"/sd/{quoted}/info/",
            f"/v1/projects/{quoted}",
            f"/v1/results/{quoted}",
        ):
            for method in ("GET", "POST"):
                answer = server.call(method, path, "alice", headers={"Accept": "*/*"})
                assert answer.status_code in {403, 404, 405, 415}, (path, answer.text)
                assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize("name", ["", "a.b", "a-b", "größe", "n" * 256])
def test_bad_names_of_users_are_refused(server, name):
    with server.unchanged():
        answer = server.post("/v1/users", "admin", json={"name": name})
        assert_problem(answer, 400, "InvalidNameError")


BAD_FIELDS: dict[str, list[dict[str, Any]]] = {
    "dataset": [
        {"colour": "red"}, {"dataset_name": None}, {"zimagesize": 1.5}, {"ximagesize": None},
        {"yvoxelres": float("nan")}, {"dataset_description": "\ud800"},
    ],
    "project": [
        {"unknown": 1}, {"project_name": "other"}, {"dataset": "other"}, {"host": 5},
        {"kvserver": "x" * 256}, {"s3backend": "yes"},
    ],
    "channel": [
        {"unknown": 1}, {"channel_name": "other"}, {"resolution": 4},
        {"startwindow": 5, "endwindow": 2},
        {"channel_type": "annotation", "channel_datatype": "uint8"},
    ],
    "token": [
        {"unknown": 1}, {"token_name": "other"}, {"project": "other"}, {"public": "yes"},
        {"token_description": 5},
    ],
}  # fmt: skip
"""A few of every kind, and what the tests of ``model.fields`` do not hold; the last is named."""


@pytest.mark.parametrize("kind", BAD_FIELDS)
def test_a_field_that_is_refused_is_named(server, kind):
    legacy, v1, fields = KINDS[kind]
    for change in BAD_FIELDS[kind]:
        for path, status in ((legacy, 400), (v1, 422)):
            with server.unchanged():
                answer = server.post(path.format("new"), "alice", json=fields | change)
            problem = assert_problem(answer, status, "ValidationError")
            assert [fault["field"] for fault in problem["errors"]] == [[*change][-1]], change


def test_all_faults_are_told_at_once(server):
    with server.unchanged():
        answer = server.post("/v1/datasets/new", "alice", json={"ximagesize": 0, "colour": "red"})
        problem = assert_problem(answer, 422, "ValidationError")
    assert {fault["field"] for fault in problem["errors"]} == {
        "ximagesize", "colour", "yimagesize", "zimagesize"
    }  # fmt: skip


@pytest.mark.parametrize(("body", "field"), [
    ({}, "name"), ({"name": 5}, "name"), ({"name": "x", "superuser": 1}, "superuser"),
    ({"name": "x", "password": None}, "password"), ({"name": "x", "key": "mine"}, "key"),
])  # fmt: skip
def test_fields_of_users_are_checked(server, body, field):
    with server.unchanged():
        answer = server.post("/v1/users", "admin", json=body)
    problem = assert_problem(answer, 422, "ValidationError")
    assert [fault["field"] for fault in problem["errors"]] == [field]


def test_a_user_s_name_is_taken_once(server):
    with server.unchanged():
        answer = server.post("/v1/users", "admin", json={"name": "bob"})
        assert_problem(answer, 409, "AlreadyExistsError")
