"""RAMON objects over ndstore's routes: made, read and changed, in HDF5 and JSON."""

import json

import pytest

from tests.support.annotation_server import annotating, one, put
from tests.support.app import assert_problem, server_fixture
from tests.support.ramon_files import ramon_file, read_file

server = server_fixture(annotating)


COMMON = {"STATUS": 2, "CONFIDENCE": 0.75, "AUTHOR": "é. cajal"}


def test_an_object_may_come_without_type_and_metadata(server, labels):
    given = put(server, labels)
    group = one(server, f"{labels}/{given}/nodata/")
    assert group["ANNOTATION_TYPE"].tolist() == [1]
    assert group["METADATA"]["AUTHOR"] == group["METADATA"]["KVPAIRS"] == ""
    assert group["METADATA"]["STATUS"].tolist() == [0]
    assert set(group) == {"ANNOTATION_TYPE", "METADATA"}


def test_the_answer_to_a_batch_lists_ids_in_the_order_of_the_file(server, labels):
    """HDF5 gives groups by name, so 12 comes before 3 and names come last."""
    names = ("3", "noid.0", "12", "noid.1")
    body = ramon_file({name: {"METADATA": {"AUTHOR": name}} for name in names})
    answer = server.post(f"{labels}/", "alice", data=body)
    assert (answer.status_code, answer.content_type) == (200, "text/html")
    ids = [int(word) for word in answer.text.split(",")]
    assert ids[:2] == [12, 3]
    assert len(set(ids)) == 4
    found = read_file(server.read(f"{labels}/{answer.text},12/"))
    authors = [found.pop(str(number))["METADATA"]["AUTHOR"] for number in ids]
    assert (authors, found) == (["12", "3", "noid.0", "noid.1"], {})
    assert list(json.loads(server.read(f"{labels}/12,3,12/json/"))) == ["12", "3"]


def test_json_makes_one_object_by_the_id_inside(server, labels):
    flat = {"ann_type": 2, "ann_id": 21, "syn_weight": 0.5, "syn_centroid": "[1, 2, 3]", "k": "v"}
    answer = server.post(f"{labels}/json/", "alice", json={"999": flat})
    assert (answer.status_code, answer.text) == (200, "21")
    found = json.loads(server.read(f"{labels}/21/json/"))["21"]
    assert flat.items() <= found.items()
    assert server.get(f"{labels}/999/json/", "alice").status_code == 404
    for given, inside in (("22", {}), ("23", {"ann_id": 0})):
        answer = server.post(f"{labels}/json/", "alice", json={"0": {"ann_type": 1, **inside}})
        assert answer.text == given


@pytest.mark.parametrize("words", ["update/json", "json/update"])
def test_json_updates_what_is_there(server, words, labels):
    put(server, labels, "7", METADATA={**COMMON})
    document = {"7": {"ann_id": 7, "ann_type": 5}}
    assert server.post(f"{labels}/{words}/", "alice", json=document).text == "7"
    found = json.loads(server.read(f"{labels}/7/json/"))["7"]
    assert (found["ann_type"], found["ann_author"]) == (5, "")


def test_the_older_json_comes_and_goes_by_a_flag(server, labels):
    metadata = {"segmentclass": 2, "author": "me", "kvpairs": {"k": "v"}}
    body = {"21": {"type": "segment", "metadata": metadata}}
    answer = server.post(f"{labels}/json/?format=old", "alice", json=body)
    assert (answer.status_code, answer.text) == (200, "21")
    old = json.loads(server.read(f"{labels}/21/json/?format=old"))["21"]
    assert old["type"] == "segment"
    assert metadata.items() <= old["metadata"].items()
    assert server.read(f"{labels}/21/json/?format=flat") == server.read(f"{labels}/21/json/")


def test_json_that_is_no_object_is_404_and_stores_nothing(server, labels):
    """What else JSON may have wrong is held against the decoder, in tests/unit/wire."""
    put(server, labels, "7")
    with server.unchanged():
        for body in (
            b"", b"[]", b'{"1": 5}', b'{"1": {"ann_type": 0}}',
            b'{"1": {"ann_type": 1}, "2": {"ann_type": 1}}',
            b'{"1": {"ann_type": 1, "ann_id": 4294967296}}',
            b'{"1": {"ann_type": 1, "syn_weight": 0.5}}',
            b'{"1": {"ann_type": 1, "k": "' + b"v" * 20_001 + b'"}}',
        ):  # fmt: skip
            answer = server.post(f"{labels}/json/", "alice", data=body)
            assert answer.status_code == 404, answer.text
            assert answer.content_type == "application/problem+json"
        answer = server.post(f"{labels}/json/", "alice", data=b" " * (1 << 20) + b"{}")
        assert_problem(answer, 413, "PayloadTooLargeError")
        document = {"7": {"ann_type": 1}}
        for words, error in (
            ("json/dataonly/", "InvalidArgumentError"),  # it has no voxels to paint
            ("reduce/json/", "InvalidArgumentError"),
            ("json/?format=xml", "UnknownNameError"),
        ):
            assert_problem(server.post(f"{labels}/{words}", "alice", json=document), 404, error)
        assert_problem(server.get(f"{labels}/7/json/?format=xml", "alice"), 404, "UnknownNameError")
