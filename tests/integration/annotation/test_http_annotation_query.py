"""Questions about objects over ndstore's routes: query, fields, CSV, JSON, and what ndio asks."""

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

from tests.support.annotation_server import LABELS, SD, annotating, new_channel, one, put
from tests.support.app import Server, assert_problem
from tests.support.bodies import npz
from tests.support.ramon_files import ramon_file, read_file, read_ids, region_file, voxels

RAMON = "/ramon/anno/labels"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Objects 1 (synapse), 2 and 3 (segments), 4 (neuron), 5 (seed); tests only read them."""
    with annotating(tmp_path_factory.mktemp("query")) as server:
        synapse = {
            "STATUS": 2, "CONFIDENCE": 0.9, "AUTHOR": "ann", "SEGMENTS": [2, 3],
            "KVPAIRS": "sky,blue\r\nsea,green\r\n",
        }  # fmt: skip
        put(server, LABELS, "1", ANNOTATION_TYPE=2, METADATA=synapse, **voxels([[40, 50, 10]]))
        segment = {"CONFIDENCE": 0.4, "AUTHOR": "ann", "NEURON": 4, "KVPAIRS": "sky,grey\r\n"}
        put(server, LABELS, "2", ANNOTATION_TYPE=4, METADATA=segment, **voxels([[60, 50, 10]]))
        segment = {"CONFIDENCE": 0.6, "NEURON": 4}
        put(server, LABELS, "3", ANNOTATION_TYPE=4, METADATA=segment)
        put(server, LABELS, "4", ANNOTATION_TYPE=5)
        put(server, LABELS, "5", ANNOTATION_TYPE=3, METADATA={"AUTHOR": "é <b>ann</b>"})
        yield server


def test_a_query_is_words_of_a_path_and_its_answer_hdf5(server):
    """ndstore ANDed two predicates on one row of its table, so that none was ever found."""
    for words, ids in (("type/4/confidence/gt/0.5/", [3]), ("type/4/sky/blue/", None)):
        answer = server.get(f"{LABELS}/query/{words}", "alice")
        assert (answer.status_code, answer.content_type) == (200, "product/hdf5")
        assert read_ids(answer.data) == ids, words


def test_queries_and_regions_that_are_none_are_refused(server):
    good = region_file((30, 40, 8), (20, 20, 5))
    for words, error in (
        ("type/", "PathSyntaxError"),
        ("confidence/lt/nan/", "InvalidArgumentError"),
        ("seg_neuron/4.5/", "InvalidArgumentError"),
        # Each predicate took its time; a path has room for thousands, and anybody may ask.
        ("status/0/" * 33, "InvalidArgumentError"),
    ):
        assert_problem(server.get(f"{LABELS}/query/{words}", "alice"), 404, error)
        assert_problem(server.post(f"{LABELS}/query/{words}", "alice", data=good), 404, error)
    for body, status, error in (
        (b"", 404, "MalformedBodyError"),
        (b"\x89HDF\r\n\x1a\n", 404, "MalformedBodyError"),
        (ramon_file({}), 404, "MalformedBodyError"),
        (region_file((30, 40, 8), (20, 20, 500)), 404, "OutOfBoundsError"),
        (region_file((30, 40, 8), (0, 20, 5)), 404, "EmptyBoxError"),
        (bytes((1 << 20) + 1), 413, "PayloadTooLargeError"),
    ):
        answer = server.post(f"{LABELS}/query/", "alice", data=body)
        assert_problem(answer, status, error)


@pytest.mark.parametrize(("number", "field", "text"), [
    (1, "annid", "1"), (1, "status", "2"), (1, "confidence", "0.9"), (1, "author", "ann"),
    (1, "segments", "2,3"), (1, "seeds", ""), (1, "sky", "blue"), (2, "neuron", "4"),
    (2, "synapses", "1"), (2, "organelles", ""), (4, "segments", "2,3"), (5, "position", ""),
    (1, "nosuch", None), (99, "status", None), (0, "status", None), (10**20 - 1, "status", None),
])  # fmt: skip
def test_fields_are_text(server, number, field, text):
    answer = server.get(f"{LABELS}/getField/{number}/{field}/", "alice")
    if text is None:
        assert_problem(answer, 404, "NotFoundError")
    else:
        assert (answer.status_code, answer.text) == (200, text)


def test_the_text_that_somebody_stored_is_no_page_of_ours(server):
    answer = server.get(f"{LABELS}/getField/5/author/", "alice")
    assert answer.data == "é <b>ann</b>".encode()
    assert answer.content_type == "text/html; charset=utf-8"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.fixture(scope="module")
def own(server):
    """A channel whose objects tests may change: 1 is a synapse, 2 a node, 3 a segment."""
    path = f"{SD}/{new_channel(server).name}"
    for number, kind in (("1", 2), ("2", 7), ("3", 4)):
        put(server, path, number, ANNOTATION_TYPE=kind)
    return path


@pytest.mark.parametrize(("number", "field", "value", "text"), [
    (1, "confidence", "-1e-3", "-0.001"), (1, "author", "me%20%C3%A9", "me é"),
    (1, "segments", "1,2,3", "1,2,3"), (1, "centroid", "1,2,3", "1,2,3"),
    (1, "mykey", "any.value", "any.value"), (2, "parent", "-1", "-1"),
    (2, "location", "1.5,2,3", "1.5,2.0,3.0"),
])  # fmt: skip
def test_fields_are_set_by_words(server, own, number, field, value, text):
    answer = server.get(f"{own}/setField/{number}/{field}/{value}/", "alice")
    assert (answer.status_code, answer.data) == (200, b"")
    assert server.get(f"{own}/getField/{number}/{field}/", "alice").text == text


@pytest.mark.parametrize(("error", "path"), [
    ("ValidationError", "1/status/aa"), ("ValidationError", "1/centroid/1,2"),
    # HDF5 has no NUL in a text, so that the object could not be read any more.
    ("ValidationError", "1/author/a%00b"), ("ValidationError", "1/k%00/v"),
    ("InvalidArgumentError", "1/annid/7"), ("InvalidArgumentError", "3/synapses/7"),
    ("InvalidArgumentError", "3/organelles/7"),
    ("NotFoundError", "99/status/1"), ("NotFoundError", "0/status/1"),
    ("RouteNotFoundError", "1/status"), ("RouteNotFoundError", "x/status/1"),
])  # fmt: skip
def test_values_that_cannot_be_set_change_nothing(server, own, path, error):
    """ndstore stored ``aa`` as a status, and the object could not be read any more."""
    with server.unchanged():
        assert_problem(server.get(f"{own}/setField/{path}/", "alice"), 404, error)


@pytest.mark.parametrize("path", [f"{SD}/csv/1/0/", f"{LABELS}/csv/1/0/"])
def test_an_object_as_csv_has_its_box(server, path):
    answer = server.get(path, "alice")
    assert answer.status_code == 200
    lines = dict(csv.reader(io.StringIO(answer.text)))
    assert lines["ANNOTATION_ID"] == "1"
    assert lines["AUTHOR"] == "ann"
    assert lines["XYZOFFSET"] == "[40, 50, 10]"
    assert lines["XYZDIMENSION"] == "[1, 1, 1]"
    assert lines["SEGMENTS"] == "[2, 3]"


def test_ramon_gives_json(server):
    assert server.read(f"{RAMON}/1/") == server.read(f"{LABELS}/1/json/")
    assert list(json.loads(server.read(f"{RAMON}/2,1/"))) == ["2", "1"]
    assert server.read(f"{RAMON}/1/?format=old") == server.read(f"{LABELS}/1/json/?format=old")


def test_ramon_gives_boxes(server):
    for rest in ("", "0/"):
        found = json.loads(server.read(f"{RAMON}/2/boundingbox/{rest}"))["2"]
        assert (found["bbcorner"], found["bbdim"], found["ann_type"]) == ([60, 50, 10], [1] * 3, 4)
    assert "bbcorner" not in json.loads(server.read(f"{RAMON}/3/boundingbox/"))["3"]


@pytest.mark.parametrize(("words", "found"), [
    ("query/sky/blue", [1]), ("query/ann_type/4", [2, 3]), ("query/seg_neuron/4", [2, 3]),
    ("query/no/such", []), ("topkeys/", ["sky", "sea"]), ("topkeys/type/2/", ["sea", "sky"]),
])  # fmt: skip
def test_ramon_gives_ids_and_keys_as_a_list(server, words, found):
    answer = server.get(f"{RAMON}/{words}/", "alice")
    assert (answer.status_code, answer.get_json()) == (200, found)


@pytest.mark.parametrize(("rest", "error"), [
    ("99", "NotFoundError"), ("1,99", "NotFoundError"), ("0", "NotFoundError"),
    ("99/boundingbox", "NotFoundError"), ("1/boundingbox/9", "ResolutionNotFoundError"),
    ("5/boundingbox", "InvalidArgumentError"), ("topkeys/0", "InvalidArgumentError"),
    ("topkeys/99999999999", "InvalidArgumentError"), ("topkeys/type/10", "ValidationError"),
    ("query/sky", "PathSyntaxError"), ("x", "RouteNotFoundError"),
    ("1?format=xml", "UnknownNameError"),
])  # fmt: skip
def test_what_ramon_cannot_give_is_404(server, rest, error):
    assert_problem(server.get(f"{RAMON}/{rest}", "alice"), 404, error)


def test_paths_of_ndio_lack_sd_and_are_understood(server):
    assert read_ids(server.read("/nd/anno/labels/query/type/4/")) == [2, 3]
    assert list(json.loads(server.read("/nd/anno/labels/2,3/json/"))) == ["2", "3"]
    box = one(server, "/nd/anno/labels/2/boundingbox/0/")
    assert box["XYZOFFSET"].tolist() == [60, 50, 10]
    assert list(read_file(server.read("/nd/anno/labels/2/"))) == ["2"]


def test_uploads_of_ndio_come_without_key_and_as_a_form(tmp_path):
    """As ``requests`` sends bytes that nobody gave a type; only where anybody may write."""
    form = "application/x-www-form-urlencoded"

    def post(server: Server) -> Any:
        path, body = "/nd/anno/labels/overwrite/", ramon_file({"0": {}})
        return server.post(path, data=body, headers={"Content-Type": form})

    with annotating(tmp_path / "ours", anonymous_write=True) as server:
        assert post(server).text == "1"
        assert server.call("DELETE", "/nd/anno/labels/1/").text == "Success"
        assert server.get("/nd/anno/labels/1/").status_code == 404
    with annotating(tmp_path / "default") as server, server.unchanged():
        assert_problem(post(server), 403, "AuthenticationError")
        answer = server.call("DELETE", "/nd/anno/labels/1/")
        assert_problem(answer, 403, "AuthenticationError")


@pytest.mark.parametrize("root", ["v1", "resource", "ramon", "ndauth", "healthz"])
def test_no_token_is_looked_for_where_other_routes_begin(server, root):
    for method, path in (("GET", "7/json"), ("GET", "query/type/4"), ("POST", "overwrite")):
        answer = server.call(method, f"/{root}/labels/{path}", "alice")
        assert_problem(answer, 404, "RouteNotFoundError")


def test_a_label_without_an_object_has_voxels_and_no_fields(server):
    channel = new_channel(server)
    labels, box = f"{SD}/{channel.name}", "0/40,42/50,51/10,11"
    server.write(f"{labels}/npz/{box}/", npz(np.full((1, 1, 1, 2), 77, np.uint32)))
    for path in ("voxels/0", "cutout/0", f"cutout/{box}", "boundingbox/0", "cuboids/0"):
        assert server.get(f"{labels}/77/{path}/", "alice").status_code == 200
    found = json.loads(server.read(f"/ramon/anno/{channel.name}/77/boundingbox/"))["77"]
    assert (found["bbcorner"], found["bbdim"]) == ([40, 50, 10], [2, 1, 1])
    for path in ("77", "77/nodata", "77/json", "csv/77/0", "getField/77/author"):
        assert_problem(server.get(f"{labels}/{path}/", "alice"), 404, "NotFoundError")
