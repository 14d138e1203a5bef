"""Who may do what: private tokens, public ones, owners, superusers; and the key in the header."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest

from tests.support import bodies
from tests.support.app import BOX, SHAPE, assert_problem, server_fixture, serving, v1_cutout
from tests.support.bodies import noise

NPZ = bodies.npz(noise((1, *SHAPE)))
NPY = bodies.npy(noise(SHAPE))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("access")) as server:
        server.write(f"/sd/closed/em/npz/{BOX}", NPZ)
        yield server


READS: dict[str, Callable[[str], str]] = {
    "info": "/sd/{}/info/".format,
    "npz": f"/sd/{{}}/em/npz/{BOX}".format,
    "v1 cutout": v1_cutout("{}", "em").format,
}


WRITES: dict[str, tuple[Callable[[str], str], bytes]] = {
    "npz": (lambda token: f"/sd/{token}/em/npz/{BOX}", NPZ),
    "v1": (lambda token: f"{v1_cutout(token, 'em')}&format=npy", NPY),
}


lax = server_fixture(anonymous_write=True)
"""A server with ``NDLAMBDA_ANONYMOUS_WRITE=1``."""


@pytest.mark.parametrize("family", WRITES)
def test_everybody_writes_to_public_tokens_where_the_server_says_so(lax, family):
    path, body = WRITES[family]
    for user in (None, "bob"):
        assert lax.post(path("open"), user, data=body).status_code == 200
        assert lax.post(path("closed"), user, data=body).status_code in {401, 403}
    assert lax.read(f"/sd/open/em/raw/{BOX}", None) == noise(SHAPE).tobytes()


def test_what_is_made_without_a_key_belongs_to_everybody_where_the_server_says_so(lax):
    fields = {"ximagesize": 10, "yimagesize": 10, "zimagesize": 10}
    assert lax.post("/resource/dataset/common", json=fields).status_code == 201
    assert lax.get("/resource/dataset/common").get_json()["user"] == 0
    body = {"channels": {"x": {"channel_name": "x", "channel_type": "image", "datatype": "uint8"}}}
    assert lax.post("/sd/open/createChannel/", json=body).status_code == 200
    assert lax.call("DELETE", "/resource/dataset/brain").status_code == 400


CHANNEL = {"channel_name": "ch", "channel_type": "image", "channel_datatype": "uint8"}
COMMON = {
    "": {"ximagesize": 10, "yimagesize": 10, "zimagesize": 10},
    "/project/common": {},
    "/project/common/channel/ch": CHANNEL,
    "/project/common/token/common": {"public": 1},
}
"""What anybody makes under the dataset ``common``, with its fields."""


@pytest.mark.parametrize("may_delete", [False, True])
@pytest.mark.parametrize("user", [None, "bob"])
def test_deleting_what_belongs_to_everybody_needs_a_setting_of_its_own(tmp_path, may_delete, user):
    """On all routes alike; what is made without a key, and channels behind a public token."""
    with serving(tmp_path, anonymous_write=True, anonymous_delete=may_delete) as server:
        for rest, fields in COMMON.items():
            assert server.post(f"/resource/dataset/common{rest}", json=fields).status_code == 201
        by_token = [
            ("POST", f"/sd/{token}/deleteChannel/", {"channels": [name]})
            for token, name in (("open", "em2"), ("common", "ch"))
        ]
        resources = [
            ("DELETE", f"{root}/{path}", None)
            for path in map("common{}".format, reversed(COMMON))
            for root, path in (("/resource/dataset", path), ("/v1/datasets", plural(path)))
        ]
        for method, path, body in by_token + resources:
            with nullcontext() if may_delete else server.unchanged():
                answer = server.call(method, path, user, json=body)
            if not may_delete:
                assert (answer.status_code, answer.is_json) == (403, True), answer.text
            else:  # by the second route of two it is gone already
                assert answer.status_code in {200, 204, 400, 404}, answer.text
        assert (server.get("/v1/datasets/common").status_code == 404) == may_delete
        left = set(server.get("/sd/open/info/").get_json()["channels"])
        assert ("em2" in left) != may_delete
        assert server.post("/sd/closed/deleteChannel/", user, json=body).status_code == 403


def plural(path: str) -> str:
    for word in ("project", "channel", "token"):
        path = path.replace(f"/{word}/", f"/{word}s/")
    return path


def test_deleting_needs_the_setting_for_writing_too(tmp_path):
    with serving(tmp_path, anonymous_delete=True) as server, server.unchanged():
        answer = server.post("/sd/open/deleteChannel/", json={"channels": ["em2"]})
        assert_problem(answer, 403, "AuthenticationError")


@pytest.mark.parametrize("scheme", ["Token", "token", "TOKEN", "Bearer", "bearer"])
def test_a_key_is_shown_as_token_or_bearer_in_any_case(server, scheme):
    headers = {"Authorization": f"{scheme} {server.keys['alice']}"}
    for path in (READS["info"]("closed"), READS["npz"]("closed"), READS["v1 cutout"]("closed")):
        assert server.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "value", ["Token", "Bearer", "", "Basic YWxpY2U6eA==", "Digest a=b, c=d, e=f"]
)
def test_no_key_or_another_scheme_is_nobody(server, value):
    headers = {"Authorization": value}
    assert_problem(server.get(READS["info"]("closed"), headers=headers), 401, "AuthenticationError")
    assert_problem(server.get(READS["npz"]("closed"), headers=headers), 403, "AuthenticationError")
    assert server.get(READS["npz"]("open"), headers=headers).status_code == 200
    assert server.get("/v1/server", headers=headers).get_json()["user"] == "anonymous"


def test_a_revoked_key_opens_nothing(tmp_path):
    with serving(tmp_path) as server:
        headers = {"Authorization": f"Token {server.keys['alice']}"}
        assert server.get(READS["npz"]("closed"), headers=headers).status_code == 200
        assert server.call("DELETE", "/v1/users/alice", "admin").status_code == 204
        with server.unchanged():
            answer = server.get(READS["npz"]("closed"), headers=headers)
            assert_problem(answer, 403, "AuthenticationError")
            answer = server.get(READS["info"]("closed"), headers=headers)
            assert_problem(answer, 401, "AuthenticationError")
            for path in (READS["v1 cutout"]("open"), READS["v1 cutout"]("closed")):
                assert_problem(server.get(path, headers=headers), 401, "AuthenticationError")
            sent = server.post(WRITES["npz"][0]("closed"), headers=headers, data=NPZ)
            assert_problem(sent, 403, "AuthenticationError")
        fresh = server.post("/v1/users/alice/keys", "admin").get_json()["key"]
        headers = {"Authorization": f"Bearer {fresh}"}
        assert server.get(READS["npz"]("closed"), headers=headers).status_code == 200


def test_a_token_that_is_deleted_closes_at_once(tmp_path):
    with serving(tmp_path) as server:
        assert server.get(READS["npz"]("open")).status_code == 200
        path = "/resource/dataset/brain/project/pr/token/open"
        assert server.call("DELETE", path, "alice").status_code == 204
        assert_problem(server.get(READS["npz"]("open")), 403, "AuthenticationError")


@pytest.fixture(scope="module")
def ndauth(tmp_path_factory):
    """A server with a shared secret and a user ``carol`` with a password."""
    with serving(tmp_path_factory.mktemp("ndauth"), ndauth_secret="shared") as server:
        made = server.post("/v1/users", "admin", json={"name": "carol", "password": "pass1"})
        assert made.status_code == 201
        yield server


GOOD = {"user": "carol", "password": "pass1", "secret": "shared"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ndauth_gives_the_key_of_those_who_know_their_password(ndauth, method):
    answer = ndauth.call(method, "/nd/ndauth/validate/", json={"properties": GOOD})
    assert answer.status_code == 200
    headers = {"Authorization": f"Token {answer.text}"}
    assert ndauth.get("/v1/server", headers=headers).get_json()["user"] == "carol"


@pytest.mark.parametrize("properties", [
    GOOD | {"password": "pass2"}, GOOD | {"secret": "other"}, GOOD | {"user": "nobody"},
    GOOD | {"user": "carol' OR 1"}, GOOD | {"password": 5}, {"user": "carol"}, [],
])  # fmt: skip
def test_ndauth_refuses_everything_else(ndauth, properties):
    with ndauth.unchanged():
        answer = ndauth.post("/ndauth/validate/", json={"properties": properties})
    assert_problem(answer, 403, "PermissionDeniedError")


def test_a_new_password_takes_the_place_of_the_old_one(ndauth):
    path = "/v1/users/carol/password"
    for refused in ({"password": 7}, {}, {"password": "x", "superuser": True}):
        answer = ndauth.call("PUT", path, "admin", json=refused)
        assert_problem(answer, 422, "ValidationError")
    answer = ndauth.call("PUT", path, "admin", json={"password": "with space"})
    assert_problem(answer, 400, "InvalidArgumentError")
    assert ndauth.call("PUT", path, "admin", json={"password": "pass2"}).status_code == 204
    for password, status in (("pass1", 403), ("pass2", 200)):
        body = {"properties": GOOD | {"password": password}}
        assert ndauth.post("/ndauth/validate/", json=body).status_code == status


@pytest.mark.parametrize("family", WRITES)
def test_owner_and_superusers_read_and_write_by_every_token(server, family):
    path, body = WRITES[family]
    for user in ("alice", "admin"):
        for token in ("open", "closed"):
            assert server.post(path(token), user, data=body).status_code == 200
            for path_of in READS.values():
                assert server.get(path_of(token), user).status_code == 200
