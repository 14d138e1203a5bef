"""Channels and tokens of a project are made and deleted by its owner, on both ways in."""

from dataclasses import replace

import pytest

from ndlambda.model.catalog import Project, Token
from tests.support.app import CHANNELS, assert_problem, serving

PATHS = {
    "resource": "/resource/dataset/brain/project/{project}/{what}/{name}",
    "v1": "/v1/datasets/brain/projects/{project}/{what}s/{name}",
}
MAKING = {"channel": {"channel_type": "image", "channel_datatype": "uint8"}, "token": {"public": 1}}
UNAUTHENTICATED = {"resource": 403, "v1": 401}
NOT_FOUND = {"resource": (400, "InvalidArgumentError"), "v1": (404, "ProjectNotFoundError")}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server on which alice has a public project, too."""
    with serving(tmp_path_factory.mktemp("permissions")) as server:
        catalog = server.runtime.catalog
        catalog.create_project(Project("shared", "brain", user_id=server.owner, public=True))
        catalog.create_channel(replace(CHANNELS[0], project="shared"))
        catalog.create_token(Token("seen", "shared", user_id=server.owner, public=True))
        yield server


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize(("what", "name"), [("channel", "em"), ("token", "seen")])
def test_others_make_and_delete_nothing_in_a_public_project(server, what, name, dialect):
    """Seen to fail without ``check_manage_project`` in ``make_channel`` and ``remove_channel``."""
    with server.unchanged():
        for method, wanted, body in (("POST", "new", {"json": MAKING[what]}), ("DELETE", name, {})):
            path = PATHS[dialect].format(project="shared", what=what, name=wanted)
            answer = server.call(method, path, **body)
            assert_problem(answer, UNAUTHENTICATED[dialect], "AuthenticationError")
            answer = server.call(method, path, "bob", **body)
            assert_problem(answer, 403, "PermissionDeniedError")


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("user", [None, "bob"])
def test_to_others_a_private_project_does_not_exist(server, user, dialect):
    """Seen to fail without ``check_manage_project`` in ``make_channel`` and ``remove_channel``."""
    with server.unchanged():
        for method, name in (("POST", "new"), ("DELETE", "em")):
            path = PATHS[dialect].format(project="pr", what="channel", name=name)
            answer = server.call(method, path, user, json=MAKING["channel"])
            assert_problem(answer, *NOT_FOUND[dialect])


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("user", ["alice", "admin"])
def test_the_owner_and_superusers_make_and_delete_channels(server, user, dialect):
    path = PATHS[dialect].format(project="shared", what="channel", name="new")
    assert server.post(path, user, json=MAKING["channel"]).status_code == 201
    assert server.call("DELETE", path, user).status_code == 204
