"""Annotation routes by channels that cannot be used, callers who may not, and wrong verbs."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.annotation_server import (
    CHANNELS,
    EM,
    FROZEN,
    LABELS,
    VOLUME,
    annotating,
    put,
)
from tests.support.app import Server, assert_problem
from tests.support.ramon_files import ramon_file, region_file, voxels

GOOD = voxels([[40, 50, 10]])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Object 5 with a voxel; ``shut`` is the token of a private volume. Nothing changes them."""
    with annotating(tmp_path_factory.mktemp("access")) as server:
        server.add_volume(replace(VOLUME, name="shut"), *CHANNELS, public=False)
        put(server, LABELS, "5", ANNOTATION_TYPE=4, **GOOD)
        yield server


WRITES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "", ramon_file({"9": GOOD})),
    ("POST", "overwrite/", ramon_file({"9": GOOD})),
    ("POST", "update/", ramon_file({"5": GOOD})),
    ("POST", "dataonly/", ramon_file({"5": GOOD})),
    ("POST", "reduce/", ramon_file({"5": GOOD})),
    ("POST", "json/", b'{"0": {"ann_type": 1}}'),
    ("POST", "update/json/", b'{"0": {"ann_type": 1, "ann_id": 5}}'),
    ("DELETE", "5/", None),
    ("GET", "setField/5/status/1/", None),
    ("GET", "reserve/5/", None),
    ("POST", "reserve/5/", None),
    ("POST", "merge/5,6/global/", None),
    ("POST", "merge/5,6/global/0/", None),
    ("POST", "merge/5,6/0/38,44/48,54/9,13/", None),
)
READS: tuple[tuple[str, str, Any], ...] = (
    ("GET", "5/", None),
    ("GET", "5/json/", None),
    ("GET", "5/voxels/0/", None),
    ("GET", "5/cutout/0/", None),
    ("GET", "5/cutout/0/38,44/48,54/9,13/", None),
    ("GET", "5/boundingbox/0/", None),
    ("GET", "5/cuboids/0/", None),
    ("GET", "getField/5/status/", None),
    ("GET", "query/type/4/", None),
    ("POST", "query/type/4/", region_file((38, 48, 9), (6, 6, 4))),
    ("GET", "id/0/40/50/10/", None),
    ("GET", "ids/0/38,44/48,54/9,13/", None),
    ("GET", "exceptions/0/38,44/48,54/9,13/", None),
    ("GET", "csv/5/0/", None),
)
_PATHS = [f"{method} {path}" for method, path, _ in (*WRITES, *READS)]


@pytest.mark.parametrize(("method", "path", "body"), [*WRITES, *READS], ids=_PATHS)
def test_images_have_no_objects(server: Server, method: str, path: str, body: Any) -> None:
    with server.unchanged():
        answer = server.call(method, f"{EM}/{path}", "alice", data=body)
        assert_problem(answer, 404, "InvalidArgumentError")


@pytest.mark.parametrize(("method", "path", "body"), [*WRITES, *READS], ids=_PATHS)
def test_unknown_channels_are_404(server: Server, method: str, path: str, body: Any) -> None:
    with server.unchanged():
        answer = server.call(method, f"/sd/anno/nope/{path}", "alice", data=body)
        assert_problem(answer, 404, "ChannelNotFoundError")


@pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=_PATHS[: len(WRITES)])
def test_read_only_channels_are_404(server: Server, method: str, path: str, body: Any) -> None:
    with server.unchanged():
        answer = server.call(method, f"{FROZEN}/{path}", "alice", data=body)
        assert_problem(answer, 404, "ReadOnlyChannelError")


@pytest.mark.parametrize(("method", "path", "body"), [*WRITES, *READS], ids=_PATHS)
def test_private_tokens_are_closed_to_others_and_look_like_none(
    server: Server, method: str, path: str, body: Any
) -> None:
    with server.unchanged():
        for token in ("shut", "nope"):
            url = f"/sd/{token}/labels/{path}"
            nobody = server.call(method, url, data=body)
            assert_problem(nobody, 403, "AuthenticationError")
            another = server.call(method, url, "bob", data=body)
            assert_problem(another, 403, "PermissionDeniedError")


@pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=_PATHS[: len(WRITES)])
def test_a_public_token_is_for_reading(server: Server, method: str, path: str, body: Any) -> None:
    with server.unchanged():
        assert_problem(
            server.call(method, f"{LABELS}/{path}", data=body), 403, "AuthenticationError"
        )
        another = server.call(method, f"{LABELS}/{path}", "bob", data=body)
        assert_problem(another, 403, "PermissionDeniedError")


@pytest.mark.parametrize(("method", "path", "body"), READS, ids=_PATHS[len(WRITES) :])
def test_everybody_reads_what_is_public(server: Server, method: str, path: str, body: Any) -> None:
    with server.unchanged():
        assert server.call(method, f"{LABELS}/{path}", data=body).status_code == 200


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("5/", "DELETE, GET, HEAD"),
        ("5/voxels/0/", "GET, HEAD"),
        ("5/cutout/0/38,44/48,54/9,13/", "GET, HEAD"),
        ("query/type/4/", "GET, HEAD, POST"),
        ("getField/5/status/", "GET, HEAD"),
        ("setField/5/status/1/", "GET"),
        ("id/0/40/50/10/", "GET, HEAD"),
        ("ids/0/38,44/48,54/9,13/", "GET, HEAD"),
        ("exceptions/0/38,44/48,54/9,13/", "GET, HEAD"),
        ("reserve/5/", "GET, POST"),
        ("merge/5,6/global/", "POST"),
        ("overwrite/", "POST"),
        ("update/json/", "POST"),
    ],
)
def test_wrong_verbs_are_405(server: Server, path: str, allow: str) -> None:
    with server.unchanged():
        for method in {"PUT", "PATCH", "DELETE", "POST", "GET"} - set(allow.split(", ")):
            answer = server.call(method, f"{LABELS}/{path}", "alice", data=ramon_file({"9": {}}))
            assert_problem(answer, 405, "MethodNotAllowedError")
            assert answer.headers["Allow"] == allow


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        (f"{LABELS}/setField/5/status/3/", "GET"),
        (f"{LABELS}/reserve/5/", "GET, POST"),
        ("/anno/labels/reserve/5/", "GET, POST"),
        (f"{LABELS}/setPropagate/1/", "GET"),
    ],
)
def test_head_writes_nothing_where_get_does(server: Server, path: str, allow: str) -> None:
    """Seen to fail with werkzeug's own HEAD for every GET: it was answered 200, and had written."""
    with server.unchanged():
        answer = server.call("HEAD", path, "alice")
        assert (answer.status_code, answer.headers["Allow"]) == (405, allow)
        assert server.call("OPTIONS", path).headers["Allow"] == ", ".join(
            sorted({*allow.split(", "), "OPTIONS"})
        )
