"""The catalogue over HTTP: ndstore's ``/resource`` and its v1 twins."""

from typing import Any

import pytest

from ndlambda.model.fields import (
    channel_fields,
    channel_from_fields,
    dataset_fields,
    dataset_from_fields,
    project_fields,
    project_from_fields,
    token_fields,
    token_from_fields,
)
from tests.support.app import BOX, SHAPE, Server, assert_problem, server_fixture
from tests.support.bodies import noise, npz
from tests.support.twins import CHANNEL, RESOURCE, SIZES, V1, make_all

TWINS = pytest.mark.parametrize("twin", [RESOURCE, V1], ids=["resource", "v1"])


server = server_fixture()


@TWINS
def test_what_is_not_given_has_the_default_of_the_model(server, twin):
    name = f"defaults_{twin.project}"
    project, owner = f"{name}_p", server.owner
    shown = [server.get(path, "alice").get_json() for path in make_all(server, twin, name)]
    assert isinstance(shown[2]["id"], int)
    channel = channel_fields(channel_from_fields(CHANNEL, name="ch", project=project))
    assert shown == [
        dataset_fields(dataset_from_fields(SIZES, name=name, user_id=owner)),
        project_fields(project_from_fields({}, name=project, dataset=name, user_id=owner)),
        channel | {"id": shown[2]["id"]},
        token_fields(token_from_fields({}, name=f"{name}_t", project=project, user_id=owner)),
    ]


@TWINS
def test_every_field_given_is_shown_as_given(server, twin):
    name = f"given_{twin.project}"
    paths = twin.paths(name, f"{name}_p", tk=f"{name}_t")
    given: list[dict[str, Any]] = [
        SIZES
        | {"dataset_description": "gehirn – 脑", "public": 1, "xoffset": 7, "yvoxelres": 4.25}
        | {"scalingoption": 1, "scalinglevels": 4},
        {"project_description": "x" * 4096, "public": 1, "kvengine": "Redis", "s3backend": 0},
        {"channel_type": "timeseries", "channel_datatype": "int64", "resolution": 3}
        | {"propagate": 2, "readonly": 1, "exceptions": 1, "starttime": 5, "endtime": 50}
        | {"startwindow": -1.5, "endwindow": 500, "default": True, "header": "h" * 8192},
        {"token_name": f"{name}_t", "token_description": "t", "public": 1},
    ]
    for path, fields in zip(paths, given, strict=True):
        assert server.post(path, "alice", json=fields).status_code == 201
        shown = server.get(path, "alice").get_json()
        assert {field: shown[field] for field in fields} == fields


def test_ndio_s_channel_with_endtime_0_is_echoed_and_has_one_time_point(server):
    paths = make_all(server, RESOURCE, "ndio")
    path = paths[1] + "/channel/timed"
    fields = CHANNEL | {"channel_type": "timeseries", "starttime": 0, "endtime": 0}
    assert server.post(f"/nd/{path}/", "alice", json=fields).status_code == 201
    assert server.get(path, "alice").get_json()["endtime"] == 0
    server.write(f"/sd/ndio_t/timed/npz/{BOX}0,1/", npz(noise((1, 1, *SHAPE))))


@TWINS
def test_a_channel_sent_as_under_propagation_is_not_propagated_and_a_header_says_so(server, twin):
    """ndio's own tests send this, and want an empty body."""
    made = make_all(server, twin, f"under_{twin.project}")
    path = twin.paths(f"under_{twin.project}", f"under_{twin.project}_p", ch="under")[2]
    answer = server.post(path, "alice", json=CHANNEL | {"propagate": 1})
    assert (answer.status_code, server.get(path, "alice").get_json()["propagate"]) == (201, 0)
    assert answer.headers["X-NDLambda-Note"] == "propagate=1 is stored as 0"
    assert (answer.data == b"") is (twin is RESOURCE)
    again = server.post(made[2], "alice", json=CHANNEL | {"propagate": 0})
    assert (again.status_code, again.headers.get("X-NDLambda-Note")) == (201, None)
    body = {"channels": {"old": {"channel_name": "old", "propagate": 1, **CHANNEL}}}
    if twin is RESOURCE:
        answer = server.post(f"/sd/under_{twin.project}_t/createChannel/", "alice", json=body)
        assert (answer.status_code, "X-NDLambda-Note" in answer.headers) == (200, True)


@TWINS
def test_making_the_same_again_is_success_and_something_else_a_conflict(server, twin):
    paths = make_all(server, twin, f"again_{twin.project}")
    same: tuple[dict[str, Any], ...] = (SIZES, {}, CHANNEL, {})
    other: tuple[dict[str, Any], ...] = (
        SIZES | {"ximagesize": 301},
        {"project_description": "other"},
        CHANNEL | {"channel_datatype": "uint16"},
        {"public": 1},
    )
    for path, fields, changed in zip(paths, same, other, strict=True):
        before = server.get(path, "alice").get_json()
        with server.unchanged():
            answer = server.post(path, "alice", json=fields)
            assert answer.status_code == 201
            assert answer.data == b"" if twin.is_legacy else answer.get_json() == before
            answer = server.post(path, "alice", json=changed)
            assert_problem(answer, twin.conflict, "AlreadyExistsError")
        assert server.get(path, "alice").get_json() == before


@TWINS
def test_names_are_taken_across_owners_and_parents(server, twin):
    name = f"taken_{twin.project}"
    paths = make_all(server, twin, name)
    own = make_all(server, twin, f"{name}_bob", "bob")
    with server.unchanged():
        for path, fields in (
            (paths[0], SIZES),
            (f"{own[0]}/{twin.project}/{name}_p", {}),
            (f"{own[1]}/{twin.token}/{name}_t", {}),
        ):
            answer = server.post(path, "bob", json=fields)
            assert_problem(answer, twin.conflict, "AlreadyExistsError")


def make_public(server: Server, name: str, *public: int) -> None:
    """Make a dataset and so on, of which those at some places are public."""
    paths = RESOURCE.paths(name, f"{name}_p", tk=f"{name}_t")
    for place, (path, fields) in enumerate(zip(paths, (SIZES, {}, CHANNEL, {}), strict=True)):
        more = {"public": 1} if place in public else {}
        assert server.post(path, "alice", json=fields | more).status_code == 201


@TWINS
def test_what_lies_elsewhere_is_not_found_here(server, twin):
    one = make_all(server, twin, f"one_{twin.project}")
    two = make_all(server, twin, f"two_{twin.project}")
    with server.unchanged():
        for path in (
            f"{one[0]}/{twin.project}/two_{twin.project}_p",
            f"{one[1]}/{twin.token}/two_{twin.project}_t",
        ):
            assert server.get(path, "alice").status_code == 404
            assert server.call("DELETE", path, "alice").status_code in {400, 404}
    assert all(server.get(path, "alice").status_code == 200 for path in two)


@TWINS
def test_each_thing_can_be_deleted_and_made_again(server, twin):
    paths = make_all(server, twin, f"del_{twin.project}")
    for path in reversed(paths):
        answer = server.call("DELETE", path + "/", "alice")
        assert (answer.status_code, answer.data) == (204, b"")
        assert server.get(path, "alice").status_code == 404
    make_all(server, twin, f"del_{twin.project}")


def test_lists_show_what_is_public_and_what_is_the_callers(disk):
    make_public(disk, "shown", 0, 1, 3)
    make_public(disk, "kept")

    def ask(path: str) -> Any:
        return disk.get(path, user).get_json()

    def names(path: str, kind: str) -> list[str]:
        page = ask(path)
        assert page["next"] is None
        return [item[f"{kind}_name"] for item in page[f"{kind}s"]]

    for user in (None, "bob", "alice", "admin"):
        own = user in {"alice", "admin"}
        for path in ("/resource/dataset/", "/nd//resource/dataset/", "/resource/public/dataset"):
            assert ask(path) == ask("/nd//resource/publicdataset/") == ["shown"]
        for path in ("/resource/public/token/", "/nd//nd/resource/public/token/"):
            assert ask(path) == ["open", "shown_t"]
        for path in ("/resource/dataset/{}/project/", "/resource/public/dataset/{}/"):
            assert ask(path.format("shown")) == ["shown_p"]
            assert ask(path.format("kept")) == (["kept_p"] if own else [])
            assert ask(path.format("nope")) == []
        datasets, tokens = (["brain", "kept"], ["closed", "kept_t"]) if own else ([], [])
        assert names("/v1/datasets", "dataset") == [*datasets, "shown"]
        assert names("/v1/tokens", "token") == [*tokens, "open", "shown_t"]
        base = "/v1/datasets/shown/projects"
        assert names(base, "project") == ["shown_p"]
        assert names(f"{base}/shown_p/channels", "channel") == ["ch"]
        assert names(f"{base}/shown_p/tokens", "token") == ["shown_t"]
        answer = disk.get("/v1/datasets/kept/projects", user)
        assert answer.status_code == (200 if own else 404)


def test_tokens_of_another_in_a_public_project_are_not_listed(disk):
    make_public(disk, "ds", 1)
    listing = "/v1/datasets/ds/projects/ds_p/tokens"
    assert disk.get(listing, "bob").get_json() == {"tokens": [], "next": None}
    assert len(disk.get(listing, "alice").get_json()["tokens"]) == 1


def test_another_user_may_build_on_a_public_dataset_but_not_change_it(disk):
    path = "/resource/dataset/shared"
    assert disk.post(path, "alice", json=SIZES | {"public": 1}).status_code == 201
    assert disk.post(f"{path}/project/bobs", "bob", json={}).status_code == 201
    assert disk.post(f"{path}/project/bobs/token/bobs", "bob", json={}).status_code == 201
    with disk.unchanged():
        assert_problem(disk.call("DELETE", path, "bob"), 403, "PermissionDeniedError")
        # It would take bob's project with it.
        assert_problem(disk.call("DELETE", path, "alice"), 400, "InvalidStateError")
        answer = disk.call("DELETE", "/v1/datasets/shared", "alice")
        assert_problem(answer, 409, "InvalidStateError")
        assert disk.call("DELETE", f"{path}/project/bobs", "alice").status_code == 400
    assert disk.call("DELETE", path, "admin").status_code == 204
