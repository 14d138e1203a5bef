"""Who may do what: private tokens, public ones, owners, superusers; and the key in the header."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.support import bodies
from tests.support.app import BOX, SHAPE, Server, assert_problem, serving, v1_cutout
from tests.support.bodies import noise

NPZ = bodies.npz(noise((1, *SHAPE)))
NPY = bodies.npy(noise(SHAPE))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("access")) as server:
        server.write(f"/sd/closed/em/npz/{BOX}", NPZ)
        yield server


READS: dict[str, Callable[[str], str]] = {
    "info": "/sd/{}/info/".format,
    "info at the root": "/{}/info/".format,
    "projinfo": "/sd/{}/projinfo/".format,
    "vikingxml": "/sd/{}/volume.vikingxml".format,
    "getPropagate": "/sd/{}/em/getPropagate/".format,
    **{
        service: f"/sd/{{}}/em/{service}/{BOX}".format
        for service in ("npz", "blosc", "hdf5", "raw", "zip")
    },
    "default channel": f"/sd/{{}}/npz/{BOX}".format,
    "v1 info": "/v1/projects/{}".format,
    "v1 cutout": v1_cutout("{}", "em").format,
    "v1 digest": v1_cutout("{}", "em").replace("/cutout", "/digest").format,
}
ANONYMOUS_READ = {"info": 401, "info at the root": 401, "projinfo": 401} | {
    name: 401 for name in READS if name.startswith("v1")
}


@pytest.mark.parametrize("family", READS)
def test_a_private_token_is_open_to_its_owner_and_superusers_only(
    server: Server, family: str
) -> None:
    path = READS[family]("closed")
    anonymous = server.get(path)
    assert_problem(anonymous, ANONYMOUS_READ.get(family, 403), "AuthenticationError")
    assert ("WWW-Authenticate" in anonymous.headers) == (anonymous.status_code == 401)
    assert_problem(server.get(path, "bob"), 403, "PermissionDeniedError")
    assert server.get(path, "alice").status_code == 200
    assert server.get(path, "admin").status_code == 200


@pytest.mark.parametrize("family", READS)
def test_a_public_token_is_open_to_every_reader(server: Server, family: str) -> None:
    path = READS[family]("open")
    for user in (None, "bob", "alice", "admin"):
        assert server.get(path, user).status_code == 200


def _comparable(answer: TestResponse, token: str) -> tuple[Any, ...]:
    own = {"X-Request-Id"}
    headers = sorted((name, value) for name, value in answer.headers if name not in own)
    text = answer.text.replace(answer.headers["X-Request-Id"], "")
    return answer.status, headers, re.sub(rf"\b{token}\b", "TOKEN", text)


@pytest.mark.parametrize("user", [None, "bob"])
def test_a_private_token_looks_exactly_like_an_unknown_one(
    server: Server, user: str | None
) -> None:
    """Byte for byte, apart from the request id and the name that the caller sent."""
    for path_of in READS.values():
        known, unknown = (server.get(path_of(token), user) for token in ("closed", "absent"))
        assert _comparable(known, "closed") == _comparable(unknown, "absent")
    bodies_of = {"npz": NPZ, "createChannel": b'{"channels": {}}', "deleteChannel": b"{}"}
    for last, body in bodies_of.items():
        path = f"/em/npz/{BOX}" if last == "npz" else f"/{last}/"
        known, unknown = (
            server.post(f"/sd/{token}{path}", user, data=body) for token in ("closed", "absent")
        )
        assert _comparable(known, "closed") == _comparable(unknown, "absent")
    known, unknown = (
        server.post(f"{v1_cutout(token, 'em')}&format=npy", user, data=NPY)
        for token in ("closed", "absent")
    )
    assert _comparable(known, "closed") == _comparable(unknown, "absent")


@pytest.mark.parametrize("user", [None, "bob"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("base", ["/resource/dataset/{}", "/v1/datasets/{}"])
def test_private_things_of_the_catalogue_look_exactly_like_unknown_ones(
    server: Server, base: str, method: str, user: str | None
) -> None:
    project, token = (
        ("/project/{}", "/token/{}") if "resource" in base else ("/projects/{}", "/tokens/{}")
    )
    with server.unchanged():
        for known, path in (
            ("brain", base),
            ("pr", base.format("brain") + project),
            ("closed", base.format("brain") + project.format("pr") + token),
        ):
            unknown = "z" * len(known)
            answers = [
                _comparable(server.call(method, path.format(name), user), name)
                for name in (known, unknown)
            ]
            assert answers[0] == answers[1]
            assert answers[0][0][0] == "4"


WRITES: dict[str, tuple[Callable[[str], str], bytes]] = {
    "npz": (lambda token: f"/sd/{token}/em/npz/{BOX}", NPZ),
    "hdf5": (lambda token: f"/sd/{token}/em/hdf5/{BOX}", bodies.hdf5({"em": noise(SHAPE)})),
    "blosc": (lambda token: f"/sd/{token}/em/blosc/{BOX}", bodies.packed(noise((1, *SHAPE)))),
    "v1": (lambda token: f"{v1_cutout(token, 'em')}&format=npy", NPY),
}


@pytest.mark.parametrize("family", WRITES)
def test_a_public_token_is_written_by_its_owner_and_superusers_only(
    server: Server, family: str
) -> None:
    path, body = WRITES[family]
    with server.unchanged():
        anonymous = server.post(path("open"), data=body)
        assert_problem(anonymous, 401 if family == "v1" else 403, "AuthenticationError")
        sent = server.post(path("open"), "bob", data=body)
        assert_problem(sent, 403, "PermissionDeniedError")
    for user in ("alice", "admin"):
        for token in ("open", "closed"):
            assert server.post(path(token), user, data=body).status_code == 200


@pytest.fixture(scope="module")
def lax(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with ``NDLAMBDA_ANONYMOUS_WRITE=1``."""
    with serving(tmp_path_factory.mktemp("lax"), anonymous_write=True) as server:
        yield server


@pytest.mark.parametrize("family", WRITES)
def test_everybody_writes_to_public_tokens_where_the_server_says_so(
    lax: Server, family: str
) -> None:
    path, body = WRITES[family]
    for user in (None, "bob"):
        assert lax.post(path("open"), user, data=body).status_code == 200
        assert lax.post(path("closed"), user, data=body).status_code in {401, 403}
    assert lax.read(f"/sd/open/em/raw/{BOX}", None) == noise(SHAPE).tobytes()


def test_what_is_made_without_a_key_belongs_to_everybody_where_the_server_says_so(
    server: Server, lax: Server
) -> None:
    fields = {"ximagesize": 10, "yimagesize": 10, "zimagesize": 10}
    with server.unchanged():
        answer = server.post("/resource/dataset/common", json=fields)
        assert_problem(answer, 403, "AuthenticationError")
        assert_problem(server.post("/v1/datasets/common", json=fields), 401, "AuthenticationError")
    assert lax.post("/resource/dataset/common", json=fields).status_code == 201
    assert lax.get("/resource/dataset/common").get_json()["user"] == 0
    body = {"channels": {"x": {"channel_name": "x", "channel_type": "image", "datatype": "uint8"}}}
    assert lax.post("/sd/open/createChannel/", json=body).status_code == 200
    assert lax.call("DELETE", "/resource/dataset/brain").status_code == 400
    assert lax.call("DELETE", "/resource/dataset/common").status_code == 204


def test_channels_are_managed_by_the_owner_of_the_project(server: Server) -> None:
    body = {"channels": {"x": {"channel_name": "x", "channel_type": "image", "datatype": "uint8"}}}
    with server.unchanged():
        for token in ("open", "closed"):
            path = f"/sd/{token}/createChannel/"
            assert_problem(server.post(path, json=body), 403, "AuthenticationError")
            assert_problem(server.post(path, "bob", json=body), 403, "PermissionDeniedError")
            path, names = f"/sd/{token}/deleteChannel/", {"channels": ["em"]}
            assert_problem(server.post(path, json=names), 403, "AuthenticationError")
            assert_problem(server.post(path, "bob", json=names), 403, "PermissionDeniedError")


# --- the header -----------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Token", "token", "TOKEN", "Bearer", "bearer"])
def test_a_key_is_shown_as_token_or_bearer_in_any_case(server: Server, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {server.keys['alice']}"}
    for path in (READS["info"]("closed"), READS["npz"]("closed"), READS["v1 cutout"]("closed")):
        assert server.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "value", ["Token", "Bearer", "", "Basic YWxpY2U6eA==", "Digest a=b, c=d, e=f"]
)
def test_no_key_or_another_scheme_is_nobody(server: Server, value: str) -> None:
    headers = {"Authorization": value}
    assert_problem(server.get(READS["info"]("closed"), headers=headers), 401, "AuthenticationError")
    assert_problem(server.get(READS["npz"]("closed"), headers=headers), 403, "AuthenticationError")
    assert server.get(READS["npz"]("open"), headers=headers).status_code == 200
    assert server.get("/v1/server", headers=headers).get_json()["user"] == "anonymous"


@pytest.mark.parametrize("key", ["placeholder", "0" * 64, "k" * 300, "schlüssel"])
def test_an_unknown_key_is_nobody_on_old_routes_and_refused_on_new_ones(
    server: Server, key: str
) -> None:
    """ndio always sends a key, ``placeholder`` unless told otherwise."""
    headers = {"Authorization": f"Token {key}"}
    assert server.get(READS["npz"]("open"), headers=headers).status_code == 200
    assert server.get("/resource/dataset/", headers=headers).status_code == 200
    assert_problem(server.get(READS["info"]("closed"), headers=headers), 401, "AuthenticationError")
    assert_problem(server.get(READS["npz"]("closed"), headers=headers), 403, "AuthenticationError")
    for path in (READS["v1 cutout"]("open"), "/v1/server", "/v1/datasets"):
        answer = assert_problem(server.get(path, headers=headers), 401, "AuthenticationError")
        assert key not in answer["detail"]
    with server.unchanged():
        sent = server.post(WRITES["npz"][0]("open"), headers=headers, data=NPZ)
        assert_problem(sent, 403, "AuthenticationError")
        sent = server.post(WRITES["v1"][0]("open"), headers=headers, data=NPY)
        assert_problem(sent, 401, "AuthenticationError")


@pytest.mark.parametrize("scheme", ["Token", "Bearer"])
def test_a_header_of_three_words_is_refused_everywhere(server: Server, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {server.keys['alice']} more"}
    for path in (*(read("open") for read in READS.values()), "/resource/dataset/", "/v1/server"):
        answer = server.get(path, headers=headers)
        assert_problem(answer, 401, "MalformedCredentialsError")
        assert "WWW-Authenticate" in answer.headers


def test_a_revoked_key_opens_nothing(tmp_path: Any) -> None:
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


def test_a_token_that_is_deleted_closes_at_once(tmp_path: Any) -> None:
    with serving(tmp_path) as server:
        assert server.get(READS["npz"]("open")).status_code == 200
        path = "/resource/dataset/brain/project/pr/token/open"
        assert server.call("DELETE", path, "alice").status_code == 204
        assert_problem(server.get(READS["npz"]("open")), 403, "AuthenticationError")


def test_users_are_managed_by_superusers_only(server: Server) -> None:
    calls: tuple[tuple[str, str, Any], ...] = (
        ("GET", "/v1/users", None),
        ("POST", "/v1/users", {"name": "mallory", "superuser": True}),
        ("POST", "/v1/users/admin/keys", None),
        ("DELETE", "/v1/users/admin", None),
        ("PUT", "/v1/users/admin/password", {"password": "mine"}),
    )
    with server.unchanged():
        for method, path, body in calls:
            assert_problem(server.call(method, path, json=body), 401, "AuthenticationError")
            answer = server.call(method, path, "alice", json=body)
            assert_problem(answer, 403, "PermissionDeniedError")


def test_ndauth_gives_the_key_of_those_who_know_their_password(tmp_path: Any) -> None:
    with serving(tmp_path, ndauth_secret="shared") as server:
        made = server.post("/v1/users", "admin", json={"name": "carol", "password": "pass1"})
        assert made.status_code == 201
        good = {"user": "carol", "password": "pass1", "secret": "shared"}
        for method in ("GET", "POST"):
            answer = server.call(method, "/nd/ndauth/validate/", json={"properties": good})
            assert answer.status_code == 200
            headers = {"Authorization": f"Token {answer.text}"}
            assert server.get("/v1/server", headers=headers).get_json()["user"] == "carol"
        bad: list[Any] = [
            {"properties": good | {"password": "pass2"}},
            {"properties": good | {"secret": "other"}},
            {"properties": good | {"user": "nobody"}},
            {"properties": good | {"user": "carol' OR 1"}},
            {"properties": good | {"password": 5}},
            {"properties": {"user": "carol"}},
            {"properties": []},
            [],
        ]
        for body in bad:
            with server.unchanged():
                answer = server.post("/ndauth/validate/", json=body)
                assert answer.status_code == 403
                assert answer.content_type == "application/problem+json"
        assert server.post("/ndauth/validate/", data=b"no json").status_code == 403


def test_a_new_password_takes_the_place_of_the_old_one(tmp_path: Any) -> None:
    with serving(tmp_path, ndauth_secret="shared") as server:
        server.post("/v1/users", "admin", json={"name": "carol", "password": "pass1"})
        path = "/v1/users/carol/password"
        assert server.call("PUT", path, "admin", json={"password": "pass2"}).status_code == 204
        properties = {"user": "carol", "secret": "shared"}
        statuses = {
            password: server.post(
                "/ndauth/validate/", json={"properties": properties | {"password": password}}
            ).status_code
            for password in ("pass1", "pass2")
        }
        assert statuses == {"pass1": 403, "pass2": 200}
        for refused in ({"password": 7}, {}, {"password": "x", "superuser": True}):
            answer = server.call("PUT", path, "admin", json=refused)
            assert_problem(answer, 422, "ValidationError")
        answer = server.call("PUT", path, "admin", json={"password": "with space"})
        assert_problem(answer, 400, "InvalidArgumentError")
        answer = server.call("PUT", "/v1/users/dave/password", "admin", json={"password": "p"})
        assert_problem(answer, 404, "UserNotFoundError")
