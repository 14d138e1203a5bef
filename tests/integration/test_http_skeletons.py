"""Skeletons over HTTP, ndstore's way and ours, and through the Python client and the command."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from ndlambda.cli import main
from ndlambda.client import Client, RetryPolicy, connect
from ndlambda.errors import MalformedBodyError, NotFoundError, PermissionDeniedError
from ndlambda.model.catalog import Channel
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.ramon import Segment
from tests.support.app import BRAIN, Server, assert_problem, serving
from tests.support.fake_server import URL, WsgiTransport
from tests.support.stored_objects import store
from tests.unit.wire.test_swc import BAD

SWC = b"# two cells\n2 3 1.5 2 3 .5 1\n1 1 0 0 0 1 -1\n7 1 9 9 9 1 -1\n"
HEADING = "# ND (NeuroData) Version 1.2.0 Schema 1.1.0\n# Project pr Channel labels\n# two cells\n"
FIRST = "3 1 0.0 0.0 0.0 1.0 -1\n4 3 1.5 2.0 3.0 0.5 3\n"
SECOND = "5 1 9.0 9.0 9.0 1.0 -1\n"
LEGACY = "/sd/{}/labels/swc"
V1 = "/v1/projects/{}/channels/labels/skeletons"
BOTH = pytest.mark.parametrize(("path", "refused"), [(LEGACY, 400), (V1, None)])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that nobody changes."""
    with serving(tmp_path_factory.mktemp("calm")) as server:
        yield server


def client(server: Server, user: str | None = "alice") -> Client:
    key = None if user is None else server.keys[user]
    return connect(URL, key, transport=WsgiTransport(server.app), retry=RetryPolicy(attempts=1))


@pytest.mark.parametrize("prefix", ["/sd", "/ca", "/nd/sd", "/ocp/ca"])
def test_ndstores_paths_store_and_give_skeletons(server: Server, prefix: str) -> None:
    answer = server.post(f"{prefix}/closed/labels/swc/", "alice", data=SWC)
    assert (answer.status_code, answer.text) == (200, "1,2")
    answer = server.get(f"{prefix}/closed/labels/swc/", "alice")
    assert (answer.status_code, answer.text) == (200, HEADING + FIRST + SECOND)
    assert answer.content_type == "product/swc"
    assert answer.headers["Content-Disposition"] == "attachment; filename=closed_labels.swc"
    assert server.get(f"{prefix}/closed/labels/swc/2/", "alice").text == HEADING + SECOND
    assert server.read(f"{prefix}/closed/labels/swc/2,1").decode() == HEADING + SECOND + FIRST


def test_our_paths_do_too(server: Server) -> None:
    path = V1.format("closed")
    answer = server.post(path, "alice", data=SWC)
    assert (answer.status_code, answer.get_json()) == (201, {"ids": [1, 2]})
    answer = server.get(path, "alice")
    assert (answer.text, answer.mimetype) == (HEADING + FIRST + SECOND, "text/plain")
    assert server.get(f"{path}?ids=2", "alice").text == HEADING + SECOND


@BOTH
def test_a_channel_without_skeletons_is_a_heading(
    server: Server, path: str, refused: int | None
) -> None:
    assert server.get(path.format("open")).text == HEADING.removesuffix("# two cells\n")


@BOTH
@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_bad_files_are_refused_and_write_nothing(
    calm: Server, path: str, refused: int | None, text: str
) -> None:
    with calm.unchanged():
        answer = calm.post(path.format("closed"), "alice", data=text.encode())
        assert_problem(answer, refused or 400, "MalformedBodyError")


@BOTH
def test_ids_that_are_no_skeletons_are_refused(
    server: Server, path: str, refused: int | None
) -> None:
    channel = server.runtime.catalog.get_channel("pr", "labels")
    store(server.runtime.annotation, channel, Segment(5))
    ask = f"{path}/{{}}" if refused else f"{path}?ids={{}}"
    for ids, status, error in (
        ("5", 400, "InvalidArgumentError"),
        ("6", refused or 404, "NotFoundError"),
        ("99999999999999999999999", 400, "InvalidArgumentError"),
    ):
        assert_problem(server.get(ask.format("open", ids)), status, error)


def test_words_for_ids_are_refused(calm: Server) -> None:
    for ids in ("", "a", "1,", "-1", "1;2"):
        answer = calm.get(f"{V1.format('open')}?ids={ids}")
        assert_problem(answer, 400, "InvalidArgumentError")
    assert_problem(calm.get(f"{V1.format('open')}?id=1"), 400, "InvalidArgumentError")


@BOTH
def test_only_the_owner_writes_and_only_who_may_reads(
    server: Server, path: str, refused: int | None
) -> None:
    nobody = 403 if refused else 401
    with server.unchanged():
        for token in ("open", "closed"):
            assert server.post(path.format(token), data=SWC).status_code == nobody
            assert server.post(path.format(token), "bob", data=SWC).status_code == 403
    assert server.get(path.format("closed")).status_code == nobody
    assert server.get(path.format("closed"), "bob").status_code == 403
    assert server.get(path.format("open"), "bob").status_code == 200


def test_channels_that_take_no_skeletons_refuse_them(server: Server) -> None:
    frozen = Channel("", "frozen", ChannelType.ANNOTATION, DataType.UINT32, readonly=True)
    server.add_volume(replace(BRAIN, name="ice"), frozen)
    with server.unchanged():
        for path, status in (("/sd/ice/frozen/swc/", 400), (_v1("ice", "frozen"), 403)):
            answer = server.post(path, "alice", data=SWC)
            assert_problem(answer, status, "ReadOnlyChannelError")
        for path in ("/sd/open/em/swc/", _v1("open", "em")):
            for answer in (server.post(path, "alice", data=SWC), server.get(path)):
                assert_problem(answer, 400, "InvalidArgumentError")


def _v1(token: str, channel: str) -> str:
    return f"/v1/projects/{token}/channels/{channel}/skeletons"


def test_a_body_over_the_limit_of_nodes_is_too_large(calm: Server) -> None:
    body = b"1 1 0 0 0 1 -1\n" * ((1 << 19) + 4002)
    with calm.unchanged():
        answer = calm.post(V1.format("closed"), "alice", data=body)
        assert_problem(answer, 413, "PayloadTooLargeError")


def test_the_client_stores_and_gets_skeletons(server: Server) -> None:
    skeletons = client(server).skeletons("closed", "labels")
    assert skeletons.put(SWC.decode()) == [1, 2]
    assert skeletons.get() == HEADING + FIRST + SECOND
    assert skeletons.get([2]) == HEADING + SECOND
    with pytest.raises(NotFoundError):
        skeletons.get([99])
    with pytest.raises(MalformedBodyError, match="Line 1"):
        skeletons.put("1 1 1\n")
    with pytest.raises(PermissionDeniedError):
        client(server, "bob").skeletons("closed", "labels").get()


def test_the_command_stores_and_gets_skeletons(server: Server, tmp_path: Path) -> None:
    file, copy = tmp_path / "cells.swc", tmp_path / "copy.swc"
    file.write_bytes(SWC)
    where = ["--token", "closed", "--channel", "labels"]

    def run(*words: str) -> tuple[int, str]:
        given = ["--url", URL, "--key", server.keys["alice"], "skeleton", *words, *where]
        result = CliRunner().invoke(main, given, obj=WsgiTransport(server.app))
        return result.exit_code, result.output

    assert run("put", str(file)) == (0, "1\n2\n")
    assert run("get") == (0, HEADING + FIRST + SECOND)
    assert run("get", "2", "-o", str(copy)) == (0, "")
    assert copy.read_text() == HEADING + SECOND
    assert run("get", "99")[0] == 3
    file.write_bytes(b"# \xe9")
    code, told = run("put", str(file))
    assert (code, "not UTF-8" in told) == (2, True)
    assert [path.name for path in tmp_path.glob(".*.partial")] == []
