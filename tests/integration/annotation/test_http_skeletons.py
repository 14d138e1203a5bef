"""Skeletons over HTTP, ndstore's way and ours, and through the Python client and the command."""

import pytest

from tests.support.app import assert_problem, run_command
from tests.unit.wire.test_swc import BAD

SWC = b"# two cells\n2 3 1.5 2 3 .5 1\n1 1 0 0 0 1 -1\n7 1 9 9 9 1 -1\n"
HEADING = "# ND (NeuroData) Version 1.2.0 Schema 1.1.0\n# Project pr Channel labels\n# two cells\n"
FIRST = "3 1 0.0 0.0 0.0 1.0 -1\n4 3 1.5 2.0 3.0 0.5 3\n"
SECOND = "5 1 9.0 9.0 9.0 1.0 -1\n"
LEGACY = "/sd/{}/labels/swc"
V1 = "/v1/projects/{}/channels/labels/skeletons"


@pytest.mark.parametrize("prefix", ["/sd", "/ca", "/nd/sd", "/ocp/ca"])
def test_ndstores_paths_store_and_give_skeletons(disk, prefix):
    answer = disk.post(f"{prefix}/closed/labels/swc/", "alice", data=SWC)
    assert (answer.status_code, answer.text) == (200, "1,2")
    answer = disk.get(f"{prefix}/closed/labels/swc/", "alice")
    assert (answer.status_code, answer.text) == (200, HEADING + FIRST + SECOND)
    assert answer.content_type == "product/swc"
    assert answer.headers["Content-Disposition"] == "attachment; filename=closed_labels.swc"
    assert disk.get(f"{prefix}/closed/labels/swc/2/", "alice").text == HEADING + SECOND
    assert disk.read(f"{prefix}/closed/labels/swc/2,1").decode() == HEADING + SECOND + FIRST


def test_our_paths_do_too(disk):
    path = V1.format("closed")
    for empty in (LEGACY, V1):
        answer = disk.get(empty.format("open"))
        assert answer.text == HEADING.removesuffix("# two cells\n")
    answer = disk.post(path, "alice", data=SWC)
    assert (answer.status_code, answer.get_json()) == (201, {"ids": [1, 2]})
    answer = disk.get(path, "alice")
    assert (answer.text, answer.mimetype) == (HEADING + FIRST + SECOND, "text/plain")
    assert disk.get(f"{path}?ids=2", "alice").text == HEADING + SECOND


def test_bad_files_are_refused_and_write_nothing(disk):
    with disk.unchanged():
        for text in BAD.values():
            for path in (LEGACY, V1):
                answer = disk.post(path.format("closed"), "alice", data=text.encode())
                assert_problem(answer, 400, "MalformedBodyError")


def test_words_for_ids_are_refused(disk):
    for ids in ("", "a", "1,", "-1", "1;2", "9" * 23):
        answer = disk.get(f"{V1.format('open')}?ids={ids}")
        assert_problem(answer, 400, "InvalidArgumentError")
    assert_problem(disk.get(f"{V1.format('open')}?id=1"), 400, "InvalidArgumentError")


def test_a_body_over_the_limit_of_nodes_is_too_large(disk):
    body = b"1 1 0 0 0 1 -1\n" * ((1 << 19) + 4002)
    with disk.unchanged():
        answer = disk.post(V1.format("closed"), "alice", data=body)
        assert_problem(answer, 413, "PayloadTooLargeError")


def test_the_command_reads_and_writes_files(disk, tmp_path):
    file, copy = tmp_path / "cells.swc", tmp_path / "copy.swc"
    file.write_bytes(SWC)

    def run(*words: object) -> tuple[int, str]:
        where = ("--token", "closed", "--channel", "labels")
        result = run_command(disk, "skeleton", *words, *where)
        return result.exit_code, result.output

    assert run("put", file) == (0, "1\n2\n")
    assert run("get", "2", "-o", copy) == (0, "")
    assert copy.read_text() == HEADING + SECOND
    file.write_bytes(b"# \xe9")
    code, told = run("put", file)
    assert (code, "not UTF-8" in told) == (2, True)
    assert [path.name for path in tmp_path.glob(".*.partial")] == []
