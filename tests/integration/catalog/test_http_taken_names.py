"""What a name tells that somebody else took: that it is taken, and nothing of what has it."""

from dataclasses import replace

import pytest

from ndlambda.model.catalog import Project
from ndlambda.services.catalog import keys
from tests.support import auto_ingest
from tests.support.app import BRAIN, Server, assert_problem, serving

SIZES = {f"{axis}imagesize": 10 for axis in "xyz"}
PATHS = {
    "dataset": ("{name}", SIZES),
    "project": ("{own}/{projects}/{name}", {}),
    "token": ("{own}/{projects}/{own}/{tokens}/{name}", {}),
}
"""Where a thing is made, below the datasets, and its fields."""
FAMILIES = {
    "/resource/dataset/": {"projects": "project", "tokens": "token"},
    "/v1/datasets/": {"projects": "projects", "tokens": "tokens"},
}
AUTO_INGEST = ("/sd/autoIngest/", "/sd/json/", "/v1/auto-ingest")
TAKEN = ("hidden", "public", "marked")
"""Names of things of alice's, equally long: private, public, and private while being deleted."""
OWN = {None: "common", "bob": "of_bob"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Bob, and everybody without a key, have a dataset, a project and a token of their own."""
    folder = tmp_path_factory.mktemp("taken")
    with serving(folder, anonymous_write=True, cache_s=0) as made:
        for name in TAKEN:
            made.add_volume(
                replace(BRAIN, name=name, public=name == "public"), public=name == "public"
            )
        table = made.runtime.resources.table
        for key in (keys.dataset_key("marked"), keys.project_key("marked")):
            table.put(keys.marked_deleting(table.get(*key)))
        for user, own in OWN.items():
            for kind in PATHS:
                assert create(made, kind, "/resource/dataset/", own, user).status_code == 201
        yield made


def create(server: Server, kind: str, root: str, name: str, user: str | None):
    path, fields = PATHS[kind]
    path = path.format(name=name, own=OWN[user], **FAMILIES[root])
    return server.post(root + path, user, json=fields)


def fetch(server: Server, kind: str, root: str, name: str, user: str | None):
    """Ask autoIngest for a volume whose dataset, project or token has the name."""
    names = {each: name if each == kind else OWN[user] for each in PATHS}
    doc = auto_ingest.request(
        "http://brain.example",
        dataset={"dataset_name": names["dataset"], "imagesize": [10, 10, 10]},
        project={"project_name": names["project"], "token_name": names["token"]},
    )
    doc["dataset"]["voxelres"], doc["dataset"]["offset"] = [1.0, 1.0, 1.0], [0, 0, 0]
    doc["dataset"] |= {"scalinglevels": 0, "scaling": 0}
    return auto_ingest.post(server, doc, user, root)


@pytest.mark.parametrize("user", OWN)
@pytest.mark.parametrize("root", [*FAMILIES, *AUTO_INGEST])
@pytest.mark.parametrize("kind", PATHS)
def test_a_private_name_of_another_is_refused_like_a_public_one(server, kind, root, user):
    """Byte for byte, by the same requests to the stores. Seen to fail for each kind."""
    ask = create if root in FAMILIES else fetch
    seen = []
    for name in TAKEN:
        before = server.stores.calls.copy()
        with server.unchanged():
            answer = ask(server, kind, root, name, user)
        text = answer.text.replace(answer.headers["X-Request-Id"], "ID").replace(name, "NAME")
        assert "This name is taken." in text
        headers = sorted((key, value) for key, value in answer.headers if key != "X-Request-Id")
        seen.append((answer.status, headers, text, server.stores.calls - before))
    private, public, marked = seen
    assert private == public
    assert marked[:3] == private[:3]


@pytest.mark.parametrize("root", FAMILIES)
def test_a_channel_has_a_name_in_its_project_only(server, root):
    channel = {"channel_type": "image", "channel_datatype": "uint8"}
    words = FAMILIES[root]
    server.runtime.catalog.create_project(Project("others", "hidden", user_id=server.owner))
    channels = words["projects"].replace("project", "channel")
    path = f"{root}of_bob/{words['projects']}/of_bob/{channels}/em"
    assert server.post(path, "bob", json=channel).status_code == 201


def test_the_owner_of_a_name_is_told_what_is_different(server):
    """Seen to fail: neither the field nor its values were named."""
    size = "Dataset 'of_bob' exists and is different: its imagesize_xyz is (10, "
    same_name = {
        "dataset": (SIZES | {"ximagesize": 11}, size),
        "project": ({"project_description": "x"}, "its description is '', not 'x'"),
    }
    for kind, (fields, said) in same_name.items():
        path = PATHS[kind][0].format(name="of_bob", own="of_bob", projects="projects")
        answer = server.post(f"/v1/datasets/{path}", "bob", json=fields)
        assert said in assert_problem(answer, 409, "AlreadyExistsError")["detail"]


@pytest.mark.parametrize("name", ["alice", "nobody"])
def test_users_cannot_be_probed(server, name):
    for method, path, body in (
        ("POST", "/v1/users", {"name": name}),
        ("POST", f"/v1/users/{name}/keys", None),
        ("PUT", f"/v1/users/{name}/password", {"password": "x"}),
        ("DELETE", f"/v1/users/{name}", None),
    ):
        with server.unchanged():
            answer = server.call(method, path, "bob", json=body)
        problem = assert_problem(answer, 403, "PermissionDeniedError")
        assert problem["detail"] == "Users are managed by superusers."
