"""RAMON objects over ndstore's routes: made, read and changed, in HDF5 and JSON."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.annotation_server import BIG, LABELS, annotating, one, put
from tests.support.app import Server, assert_problem
from tests.support.ramon_files import ramon_file, read_file


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    with annotating(tmp_path) as server:
        yield server


COMMON = {"STATUS": 2, "CONFIDENCE": 0.75, "AUTHOR": "é. cajal"}
TYPES: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "annotation": (1, {}, {}),
    "synapse": (
        2,
        {
            "WEIGHT": 0.5,
            "SYNAPSE_TYPE": 3,
            "SEEDS": [7],
            "SEGMENTS": [7, 8],
            "PRESEGMENTS": [7],
            "POSTSEGMENTS": [8],
            "CENTROID": [1, 2, 3],
        },
        {
            "syn_weight": 0.5,
            "syn_type": 3,
            "syn_seeds": [7],
            "syn_segments": [7, 8],
            "syn_presegments": [7],
            "syn_postsegments": [8],
            "syn_centroid": "[1, 2, 3]",
        },
    ),
    "seed": (
        3,
        {"PARENT": 4, "CUBE_LOCATION": 5, "SOURCE": 6, "POSITION": [1, 2, 3]},
        {
            "seed_parent": 4,
            "seed_cubelocation": 5,
            "seed_source": 6,
            "seed_position": "[1, 2, 3]",
        },
    ),
    "segment": (
        4,
        {"SEGMENTCLASS": 1, "PARENTSEED": 2, "NEURON": 3},
        {"seg_class": 1, "seg_parentseed": 2, "seg_neuron": 3},
    ),
    "neuron": (5, {}, {}),
    "organelle": (
        6,
        {"ORGANELLECLASS": 1, "SEGMENT": 2, "PARENTSEED": 3, "CENTROID": [4, 5, 6], "SEEDS": [7]},
        {
            "org_class": 1,
            "org_segment": 2,
            "org_parentseed": 3,
            "org_centroid": "[4, 5, 6]",
            "org_seeds": [7],
        },
    ),
    "node": (
        7,
        {
            "NODETYPE": 1,
            "PARENTID": -1,
            "SKELETONID": 2,
            "RADIUS": 1.5,
            "LOCATION": np.array([0.5, 1.0, 2.0]),
        },
        {
            "node_type": 1,
            "node_parent": -1,
            "node_skeleton": 2,
            "node_radius": 1.5,
            "node_location": "[0.5, 1.0, 2.0]",
        },
    ),
    "skeleton": (
        8,
        {"SKELETONTYPE": 1, "ROOTNODE": 2},
        {"skel_type": 1, "skel_rootnode": 2},
    ),
    "roi": (9, {"PARENT": 3}, {"roi_parent": 3}),
}


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_taken_and_given_with_all_its_fields(server: Server, kind: str) -> None:
    number, own, keys = TYPES[kind]
    given = put(server, LABELS, "noid.0", ANNOTATION_TYPE=number, METADATA={**COMMON, **own})
    group = one(server, f"{LABELS}/{given}/")
    assert group["ANNOTATION_TYPE"].tolist() == [number]
    metadata = group["METADATA"]
    for name, value in {**COMMON, **own}.items():
        found = metadata[name]
        assert (found if isinstance(value, str) else found.tolist()) == (
            value if isinstance(value, str) else np.atleast_1d(value).tolist()
        ), name
    flat = json.loads(server.read(f"{LABELS}/{given}/json/"))
    assert flat == {
        str(given): {
            "ann_id": given,
            "ann_type": number,
            "ann_status": 2,
            "ann_confidence": 0.75,
            "ann_author": "é. cajal",
            **keys,
        }
    }


def test_an_object_may_come_without_type_and_metadata(server: Server) -> None:
    given = put(server, LABELS)
    group = one(server, f"{LABELS}/{given}/nodata/")
    assert group["ANNOTATION_TYPE"].tolist() == [1]
    assert group["METADATA"]["AUTHOR"] == group["METADATA"]["KVPAIRS"] == ""
    assert group["METADATA"]["STATUS"].tolist() == [0]
    assert set(group) == {"ANNOTATION_TYPE", "METADATA"}


def test_key_value_pairs_come_and_go_as_csv(server: Server) -> None:
    pairs = 'sky,blue\r\n"a, ""b""","line\r\nbreak"\r\n'
    given = put(server, LABELS, METADATA={"KVPAIRS": pairs})
    assert one(server, f"{LABELS}/{given}/")["METADATA"]["KVPAIRS"] == pairs
    flat = json.loads(server.read(f"{LABELS}/{given}/json"))[str(given)]
    assert (flat["sky"], flat['a, "b"']) == ("blue", "line\r\nbreak")


def test_the_answer_to_a_batch_lists_ids_in_the_order_of_the_file(server: Server) -> None:
    """HDF5 gives groups by name, so 12 comes before 3 and names come last."""
    names = ("3", "noid.0", "12", "noid.1")
    body = ramon_file({name: {"METADATA": {"AUTHOR": name}} for name in names})
    answer = server.post(f"{LABELS}/", "alice", data=body)
    assert (answer.status_code, answer.content_type) == (200, "text/html")
    ids = [int(word) for word in answer.text.split(",")]
    assert ids[:2] == [12, 3]
    assert len(set(ids)) == 4
    found = read_file(server.read(f"{LABELS}/{answer.text}/"))
    authors = [found[str(number)]["METADATA"]["AUTHOR"] for number in ids]
    assert authors == ["12", "3", "noid.0", "noid.1"]


def test_chosen_ids_are_never_given_to_others(server: Server) -> None:
    assert put(server, LABELS, "40") == 40
    assert put(server, LABELS) > 40


@pytest.mark.parametrize("path", [LABELS, BIG])
def test_the_largest_id_of_a_channel_is_an_id(server: Server, path: str) -> None:
    largest = 2**32 - 1 if path == LABELS else 2**64 - 1
    assert put(server, path, str(largest)) == largest
    assert json.loads(server.read(f"{path}/{largest}/json/"))[str(largest)]["ann_id"] == largest


def test_several_ids_are_one_file_and_each_is_there_once(server: Server) -> None:
    for number in (5, 6, 7):
        put(server, LABELS, str(number))
    assert list(read_file(server.read(f"{LABELS}/7,5,7/"))) == ["5", "7"]
    assert list(json.loads(server.read(f"{LABELS}/7,5,7/json/"))) == ["7", "5"]


def test_an_update_replaces_all_fields_and_pairs(server: Server) -> None:
    put(server, LABELS, "5", ANNOTATION_TYPE=2, METADATA={**COMMON, "KVPAIRS": "a,b\r\n"})
    body = ramon_file({"5": {"ANNOTATION_TYPE": 4, "METADATA": {"NEURON": 9}}})
    assert server.post(f"{LABELS}/update/", "alice", data=body).text == "5"
    flat = json.loads(server.read(f"{LABELS}/5/json/"))["5"]
    assert flat == {
        "ann_id": 5,
        "ann_type": 4,
        "ann_status": 0,
        "ann_confidence": 0.0,
        "ann_author": "",
        "seg_class": 0,
        "seg_parentseed": 0,
        "seg_neuron": 9,
    }


def test_derived_lists_are_in_the_files_of_those_they_are_about(server: Server) -> None:
    put(server, LABELS, "5", ANNOTATION_TYPE=5)
    put(server, LABELS, "6", ANNOTATION_TYPE=4, METADATA={"NEURON": 5})
    put(server, LABELS, "7", ANNOTATION_TYPE=2, METADATA={"SEGMENTS": [6]})
    assert one(server, f"{LABELS}/5/")["METADATA"]["SEGMENTS"].tolist() == [6]
    assert one(server, f"{LABELS}/6/")["METADATA"]["SYNAPSES"].tolist() == [7]


# --- JSON -----------------------------------------------------------------------------------


def test_json_makes_one_object_by_the_id_inside(server: Server) -> None:
    flat = {"ann_type": 2, "ann_id": 21, "syn_weight": 0.5, "syn_centroid": "[1, 2, 3]", "k": "v"}
    answer = server.post(f"{LABELS}/json/", "alice", json={"999": flat})
    assert (answer.status_code, answer.text) == (200, "21")
    found = json.loads(server.read(f"{LABELS}/21/json/"))["21"]
    assert flat.items() <= found.items()
    assert server.get(f"{LABELS}/999/json/", "alice").status_code == 404


@pytest.mark.parametrize("inside", [{}, {"ann_id": 0}])
def test_json_without_an_id_asks_for_a_new_one(server: Server, inside: dict[str, int]) -> None:
    put(server, LABELS, "7")
    answer = server.post(f"{LABELS}/json/", "alice", json={"0": {"ann_type": 1, **inside}})
    assert answer.text == "8"


@pytest.mark.parametrize("words", ["update/json", "json/update"])
def test_json_updates_what_is_there(server: Server, words: str) -> None:
    put(server, LABELS, "7", METADATA={**COMMON})
    document = {"7": {"ann_id": 7, "ann_type": 5}}
    assert server.post(f"{LABELS}/{words}/", "alice", json=document).text == "7"
    found = json.loads(server.read(f"{LABELS}/7/json/"))["7"]
    assert (found["ann_type"], found["ann_author"]) == (5, "")


def test_the_older_json_comes_and_goes_by_a_flag(server: Server) -> None:
    metadata = {"segmentclass": 2, "author": "me", "kvpairs": {"k": "v"}}
    body = {"21": {"type": "segment", "metadata": metadata}}
    answer = server.post(f"{LABELS}/json/?format=old", "alice", json=body)
    assert (answer.status_code, answer.text) == (200, "21")
    old = json.loads(server.read(f"{LABELS}/21/json/?format=old"))["21"]
    assert old["type"] == "segment"
    assert metadata.items() <= old["metadata"].items()
    assert server.read(f"{LABELS}/21/json/?format=flat") == server.read(f"{LABELS}/21/json/")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"1": 5}',
        b'{"1": {}}',
        b'{"1": {"ann_type": "2"}}',
        b'{"1": {"ann_type": 0}}',
        b'{"1": {"ann_type": 10}}',
        b'{"1": {"ann_type": true}}',
        b'{"1": {"ann_type": 1}, "2": {"ann_type": 1}}',
        b'{"1": {"ann_type": 1, "ann_type": 2}}',
        b'{"1": {"ann_type": 1, "ann_id": -1}}',
        b'{"1": {"ann_type": 1, "ann_id": "7"}}',
        b'{"1": {"ann_type": 1, "ann_id": 4294967296}}',
        b'{"1": {"ann_type": 1, "ann_status": "aa"}}',
        b'{"1": {"ann_type": 1, "ann_confidence": NaN}}',
        b'{"1": {"ann_type": 2, "syn_centroid": "[1, 2]"}}',
        b'{"1": {"ann_type": 1, "syn_weight": 0.5}}',
        b'{"1": {"ann_type": 1, "bbcorner": "x"}}',
        b"[" * 100_000,
        b'{"1": {"ann_type": 1, "k": "' + b"v" * 20_001 + b'"}}',
        b'{"1": {"ann_type": 1, "' + b"k" * 256 + b'": "v"}}',
        b'{"1": {"ann_type": 1, "k": "\\ud800"}}',
    ],
)
def test_json_that_is_no_object_is_404_and_stores_nothing(server: Server, body: bytes) -> None:
    with server.unchanged():
        answer = server.post(f"{LABELS}/json/", "alice", data=body)
        assert answer.status_code == 404, answer.text
        assert answer.content_type == "application/problem+json"


def test_json_has_no_voxels_to_paint(server: Server) -> None:
    put(server, LABELS, "7")
    with server.unchanged():
        for words in ("json/dataonly", "reduce/json"):
            sent = server.post(f"{LABELS}/{words}/", "alice", json={"7": {"ann_type": 1}})
            assert_problem(sent, 404, "InvalidArgumentError")


def test_json_longer_than_any_object_is_refused_unread(server: Server) -> None:
    with server.unchanged():
        answer = server.post(f"{LABELS}/json/", "alice", data=b" " * (1 << 20) + b"{}")
        assert_problem(answer, 413, "PayloadTooLargeError")


def test_unknown_forms_of_json_are_refused(server: Server) -> None:
    put(server, LABELS, "7")
    with server.unchanged():
        for answer in (
            server.get(f"{LABELS}/7/json/?format=xml", "alice"),
            server.post(f"{LABELS}/json/?format=xml", "alice", json={"0": {"ann_type": 1}}),
        ):
            assert_problem(answer, 404, "UnknownNameError")


# --- deleting -------------------------------------------------------------------------------


def test_deleting_takes_fields_and_voxels_and_keeps_the_id_used(server: Server) -> None:
    points = np.array([[15, 30, 6], [150, 160, 40]], np.uint32)
    put(server, LABELS, "7", METADATA={**COMMON}, RESOLUTION=0, VOXELS=points)
    put(server, LABELS, "8")
    for _ in range(2):  # repeated, it is success
        answer = server.call("DELETE", f"{LABELS}/7,8/", "alice")
        assert (answer.status_code, answer.text) == (200, "Success")
        assert answer.content_type == "text/html"
    for path in ("7/", "8/json/", "7/voxels/0/"):
        assert_problem(server.get(f"{LABELS}/{path}", "alice"), 404, "NotFoundError")
    for x, y, z in points.tolist():
        assert server.read(f"{LABELS}/id/0/{x}/{y}/{z}/") == b"0"
    with server.unchanged():
        again = server.post(f"{LABELS}/", "alice", data=ramon_file({"7": {}}))
        assert_problem(again, 404, "AlreadyExistsError")


def test_deleting_what_never_was_is_success(server: Server) -> None:
    put(server, LABELS, "7")
    assert server.call("DELETE", f"{LABELS}/12345/", "alice").text == "Success"
    assert server.get(f"{LABELS}/7/", "alice").status_code == 200
