"""What every answer has, whatever was asked: ids, log lines, CORS, methods, documents, failures."""

import json
import logging
import re
from typing import Any

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Response

from ndlambda import __version__, errors
from ndlambda.log import JsonFormatter
from ndlambda.model.catalog import Token
from ndlambda.web.app import App
from ndlambda.web.routing import Context, Route
from tests.support.app import BOX, SHAPE, Server, assert_problem, serving, v1_cutout
from tests.support.bodies import noise, npz


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("web")) as server:
        server.write(CUTOUT, npz(noise((1, *SHAPE))))
        yield server


def test_a_problem_names_its_request(server):
    problem = assert_problem(server.get("/sd/closed/info/"), 401, "AuthenticationError")
    assert re.fullmatch("[0-9a-f]{16}", problem["instance"])
    ids = {
        server.call(method, path).headers["X-Request-Id"]
        for method in ("GET", "HEAD", "OPTIONS", "POST")
        for path in ("/", "/healthz", CUTOUT, "/nowhere", "/sd/closed/info/")
    }
    assert len(ids) == 20


def _lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    formatter = JsonFormatter()
    return [
        json.loads(formatter.format(record))
        for record in caplog.records
        if record.name == "ndlambda.web"
    ]


@pytest.fixture
def web_log(caplog):
    caplog.set_level(logging.INFO, logger="ndlambda.web")
    return caplog


def test_every_request_is_one_json_line(server, web_log):
    body, closed = npz(noise((1, *SHAPE))), "/sd/closed/info/"
    read = server.get(CUTOUT)
    sent = server.post(CUTOUT, "alice", data=body)
    denied = server.get(closed, "bob")
    ids = [answer.headers["X-Request-Id"] for answer in (read, sent, denied)]
    lines = _lines(web_log)
    names = ("status", "user", "method", "path", "bytes_in", "bytes_out", "request_id")
    assert [tuple(line[name] for name in names) for line in lines] == [
        (200, "anonymous", "GET", CUTOUT, 0, len(read.data), ids[0]),
        (200, "alice", "POST", CUTOUT, len(body), len("Success"), ids[1]),
        (403, "bob", "GET", closed, 0, len(denied.data), ids[2]),
    ]
    assert all(line["ms"] >= 0 and line["level"] == "info" for line in lines)
    assert all(re.match(r"\d{4}-\d\d-\d\dT", line["time"]) for line in lines)


def test_keys_are_not_logged(server, web_log):
    server.get("/v1/server", "alice")
    server.get("/v1/server", headers={"Authorization": "Token wrongkey"})
    text = json.dumps(_lines(web_log))
    assert server.keys["alice"] not in text
    assert "wrongkey" not in text


def _answering(server: Server, view: Any) -> Client:
    route = Route("GET", "/broken", view, "A view of this test")
    return Client(App(server.runtime, [route]), use_cookies=False)


def test_an_unexpected_exception_is_a_500_without_internals(server, web_log):
    def view(context: Context) -> Response:
        secret = "/srv/secret.key"
        raise KeyError(secret)

    answer = _answering(server, view).get("/broken")
    problem = assert_problem(answer, 500, "NDLambdaError")
    assert "secret" not in answer.text
    assert "KeyError" not in answer.text
    failed, line = _lines(web_log)
    assert failed["request_id"] == line["request_id"] == problem["instance"]
    assert "KeyError: '/srv/secret.key'" in failed["traceback"]
    assert line["status"] == 500


@pytest.mark.parametrize(("error", "status", "retry_after"), [
    (errors.CuboidDecodeError("The supercuboid is damaged."), 500, None),
    (errors.UpstreamError("S3 failed."), 502, None),
    (errors.UpstreamThrottledError("S3 is busy."), 503, "2"),
    (errors.UpstreamTimeoutError("S3 is silent."), 504, None),
    (errors.QuotaExceededError("Busy.", retry_after_s=7), 429, "7"),
    (errors.WriteContentionError("Others win."), 409, "1"),
])  # fmt: skip
def test_failures_of_ours_have_their_status_and_say_when_to_come_back(
    server, web_log, error, status, retry_after
):
    def view(context: Context) -> Response:
        raise error

    answer = _answering(server, view).get("/broken")
    assert_problem(answer, status, type(error).__name__)
    assert answer.headers.get("Retry-After") == retry_after
    assert ("traceback" in _lines(web_log)[0]) == (status >= 500)


def test_a_damaged_supercuboid_is_a_500_and_never_wrong_voxels(tmp_path):
    with serving(tmp_path) as server:
        server.write(CUTOUT, npz(noise((1, *SHAPE))))
        (stored,) = (tmp_path / "objects").glob("pr/em/*/0/0/*")
        damaged = bytearray(stored.read_bytes())
        damaged[60] ^= 1
        stored.write_bytes(damaged)
        for path in (CUTOUT, v1_cutout("open", "em")):
            assert_problem(server.get(path), 500, "CuboidDecodeError")
        assert_problem(
            server.post(CUTOUT, "alice", data=npz(noise((1, *SHAPE), seed=1))),
            500,
            "CuboidDecodeError",
        )
        assert stored.read_bytes() == damaged


def test_options_tell_the_methods_without_a_key(server):
    """Those of every route: ``test_http_refusals``. A preflight allows reading with a key."""
    answer = server.call("OPTIONS", "/sd/closed/info/")
    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert_problem(server.call("OPTIONS", "/nowhere"), 404, "RouteNotFoundError")
    asked = {"Method": "GET", "Headers": "authorization"}
    headers = {f"Access-Control-Request-{name}": value for name, value in asked.items()}
    headers["Origin"] = "https://viewer.example"
    answer = server.call("OPTIONS", "/nd/sd/closed/info/", headers=headers)
    assert answer.status_code == 204
    allowed = {"Origin": "*", "Methods": "GET, HEAD, OPTIONS", "Headers": "Authorization"}
    assert {name: answer.headers[f"Access-Control-Allow-{name}"] for name in allowed} == allowed


def test_paths_without_a_route_are_a_problem(server):
    resource = "/resource/dataset/brain/project/pr"
    paths = ["/nowhere", "/sd/", "/sd/open", "/open/em", "/nd", "/v1"]
    for path in (*paths, f"{resource}/channel/", f"{resource}/token/"):
        assert_problem(server.get(path, "alice"), 404, "RouteNotFoundError")


def test_head_has_the_headers_of_get_and_no_body(server):
    paths = ("/", "/healthz", "/openapi.json", "/sd/open/info/", "/sd/closed/info/", "/nowhere")
    for path in (*paths, CUTOUT, v1_cutout("open", "em") + "&format=raw"):
        head, get = server.call("HEAD", path), server.get(path)
        assert head.data == b""
        assert head.status == get.status
        headers = [{k: v for k, v in each.headers if k != "X-Request-Id"} for each in (head, get)]
        assert headers[0] == headers[1]
        assert head.content_length == len(get.data)


CUTOUT = f"/sd/open/em/npz/{BOX}"


def test_any_page_may_read(server):
    headers = {"Origin": "https://viewer.example"}
    for path in (CUTOUT, v1_cutout("open", "em"), "/sd/closed/info/", "/nowhere"):
        answer = server.get(path, headers=headers)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "X-NDLambda-Shape" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers


def test_no_page_may_write(server):
    sent = server.post(CUTOUT, "alice", data=b"", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in sent.headers
    deleted = server.call("DELETE", "/resource/dataset/nope", "alice")
    assert "Access-Control-Allow-Origin" not in deleted.headers


def test_health_and_server_tell_the_version(server):
    assert server.get("/healthz").get_json() == {"status": "ok", "version": __version__}
    told = server.get("/v1/server", "admin").get_json()
    assert told == {
        "version": __version__,
        "limits": {"cutout_voxels": 1 << 28, "body_bytes": None, "upload_bytes": 1 << 31},
        "user": "admin",
        "superuser": True,
    }


def test_the_start_page_says_what_this_is_and_links_on(server):
    answer = server.get("/")
    assert answer.content_type == "text/html; charset=utf-8"
    assert '<a href="/sd/open/info/">open</a>' in answer.text
    for link in ("/openapi.json", "/healthz", "/sd/public_tokens/"):
        assert f'href="{link}"' in answer.text
    assert "closed" not in answer.text


def test_the_start_page_escapes_what_others_wrote(server):
    """No name with markup can be made by a request; a row of another origin may have one."""
    evil = "<script>alert(1)</script>"
    server.runtime.catalog.create_token(Token(evil, "pr", user_id=server.owner, public=True))
    text = server.get("/", headers={"Host": 'x"><script>alert(2)</script>'}).text
    server.runtime.catalog.delete_token(evil)
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text


@pytest.fixture(scope="module")
def openapi(server):
    answer = server.get("/openapi.json")
    assert answer.content_type == "application/json"
    document: dict[str, Any] = answer.get_json()
    return document


def test_the_openapi_document_is_valid(openapi):
    """By a path of every shape: all are made by one function, and the validator is slow."""
    assert openapi["openapi"].startswith("3.1.")
    validator = pytest.importorskip("openapi_spec_validator", reason="it comes with moto's server")
    shapes = {
        tuple(
            (method, "requestBody" in each, {item["in"] for item in each["parameters"]} == {"path"})
            for method, each in operations.items()
        ): path
        for path, operations in openapi["paths"].items()
    }
    sample = {path: openapi["paths"][path] for path in shapes.values()}
    validator.OpenAPIV31SpecValidator({**openapi, "paths": sample}).validate()


def test_the_openapi_document_has_exactly_the_routes_of_the_table(server, openapi):
    documented = {
        (method.upper(), path): operation
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    }
    table = {
        (route.method, re.sub(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>", r"{\1}", route.rule)): route
        for route in server.app.routes
    }
    assert documented.keys() == table.keys()
    assert len(table) == len(server.app.routes)
    for key, operation in documented.items():
        assert operation["summary"] == table[key].summary != ""
        assert "\n" not in operation["summary"]
        assert ("requestBody" in operation) == bool(table[key].body)
        names = {item["name"] for item in operation["parameters"] if item["in"] == "query"}
        assert names == {query.name for query in table[key].query}
        in_path = [item["name"] for item in operation["parameters"] if item["in"] == "path"]
        assert in_path == re.findall(r"{(\w+)}", key[1])
    ids = [operation["operationId"] for operation in documented.values()]
    assert len(set(ids)) == len(ids)


def test_a_request_may_choose_its_id(server: Server) -> None:
    answers = {
        chosen: server.get("/healthz", headers={"X-Request-Id": chosen}).headers["X-Request-Id"]
        for chosen in ("client-1f", "a" * 64, "a" * 65, "a b", "é", "")
    }
    returned = {chosen for chosen, answered in answers.items() if answered == chosen}
    assert returned == {"client-1f", "a" * 64}
