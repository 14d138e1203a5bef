"""Questions about objects over ndstore's routes: query, fields, CSV, JSON, and what ndio asks."""

import csv
import io
import json
from typing import Any

import pytest

from tests.support.annotation_server import EM, LABELS, SD, annotating, new_channel, one, put
from tests.support.app import Server, assert_problem
from tests.support.ramon_files import ramon_file, read_file, read_ids, region_file, voxels

RAMON = "/ramon/anno/labels"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Objects 1 (synapse), 2 and 3 (segments), 4 (neuron), 5 (seed); tests only read them."""
    with annotating(tmp_path_factory.mktemp("query")) as server:
        synapse = {
            "STATUS": 2,
            "CONFIDENCE": 0.9,
            "AUTHOR": "ann",
            "SEGMENTS": [2, 3],
            "KVPAIRS": "sky,blue\r\nsea,green\r\n",
        }
        put(server, LABELS, "1", ANNOTATION_TYPE=2, METADATA=synapse, **voxels([[40, 50, 10]]))
        segment = {"CONFIDENCE": 0.4, "AUTHOR": "ann", "NEURON": 4, "KVPAIRS": "sky,grey\r\n"}
        put(server, LABELS, "2", ANNOTATION_TYPE=4, METADATA=segment, **voxels([[60, 50, 10]]))
        segment = {"CONFIDENCE": 0.6, "NEURON": 4}
        put(server, LABELS, "3", ANNOTATION_TYPE=4, METADATA=segment)
        put(server, LABELS, "4", ANNOTATION_TYPE=5)
        put(server, LABELS, "5", ANNOTATION_TYPE=3, METADATA={"AUTHOR": "é <b>ann</b>"})
        yield server


# --- query ----------------------------------------------------------------------------------


def test_a_query_is_words_of_a_path_and_its_answer_hdf5(server):
    """ndstore ANDed two predicates on one row of its table, so that none was ever found."""
    for words, ids in (
        ("", [1, 2, 3, 4, 5]),
        ("type/4/confidence/gt/0.5/", [3]),
        ("type/4/author/ann/sky/grey/", [2]),
        ("syn_segments/3/", [1]),
        ("type/4/limit/1/", [2]),
        ("type/4/sky/blue/", None),
    ):
        answer = server.get(f"{LABELS}/query/{words}", "alice")
        assert (answer.status_code, answer.content_type) == (200, "product/hdf5")
        assert read_ids(answer.data) == ids, words


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("type/", "PathSyntaxError"),
        ("confidence/lt/nan/", "InvalidArgumentError"),
        ("seg_neuron/4.5/", "InvalidArgumentError"),
        # Each predicate took its time; a path has room for thousands, and anybody may ask.
        ("status/0/" * 33, "InvalidArgumentError"),
    ],
)
def test_queries_that_say_nothing_are_404(server, words, error):
    assert_problem(server.get(f"{LABELS}/query/{words}", "alice"), 404, error)
    body = region_file((30, 40, 8), (20, 20, 5))
    assert_problem(server.post(f"{LABELS}/query/{words}", "alice", data=body), 404, error)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "MalformedBodyError"),
        (b"\x89HDF\r\n\x1a\n", "MalformedBodyError"),
        (ramon_file({}), "MalformedBodyError"),
        (region_file((30, 40, 8), (20, 20, 500)), "OutOfBoundsError"),
        (region_file((30, 40, 8), (0, 20, 5)), "EmptyBoxError"),
    ],
)
def test_regions_that_are_none_are_404(server, body, error):
    assert_problem(server.post(f"{LABELS}/query/", "alice", data=body), 404, error)


def test_a_long_region_is_refused_unread(server):
    answer = server.post(f"{LABELS}/query/", "alice", data=bytes((1 << 20) + 1))
    assert_problem(answer, 413, "PayloadTooLargeError")


# --- fields ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "field", "text"),
    [
        (1, "annid", "1"),
        (1, "status", "2"),
        (1, "confidence", "0.9"),
        (1, "author", "ann"),
        (1, "segments", "2,3"),
        (1, "seeds", ""),
        (1, "sky", "blue"),
        (2, "neuron", "4"),
        (2, "synapses", "1"),
        (2, "organelles", ""),
        (4, "segments", "2,3"),
        (5, "position", ""),
    ],
)
def test_fields_are_text(server, number, field, text):
    answer = server.get(f"{LABELS}/getField/{number}/{field}/", "alice")
    assert (answer.status_code, answer.text) == (200, text)


def test_the_text_that_somebody_stored_is_no_page_of_ours(server):
    answer = server.get(f"{LABELS}/getField/5/author/", "alice")
    assert answer.data == "é <b>ann</b>".encode()
    assert answer.content_type == "text/html; charset=utf-8"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["1/nosuch", "99/status", "0/status", f"{10**20 - 1}/status"])
def test_fields_that_are_not_there_are_404(server, path):
    assert_problem(server.get(f"{LABELS}/getField/{path}/", "alice"), 404, "NotFoundError")


@pytest.fixture(scope="module")
def own(server):
    """A channel whose objects tests may change: 1 is a synapse, 2 a node, 3 a segment."""
    path = f"{SD}/{new_channel(server).name}"
    for number, kind in (("1", 2), ("2", 7), ("3", 4)):
        put(server, path, number, ANNOTATION_TYPE=kind)
    return path


@pytest.mark.parametrize(
    ("number", "field", "value", "text"),
    [
        (1, "confidence", "-1e-3", "-0.001"),
        (1, "author", "me%20%C3%A9", "me é"),
        (1, "segments", "1,2,3", "1,2,3"),
        (1, "centroid", "1,2,3", "1,2,3"),
        (1, "mykey", "any.value", "any.value"),
        (2, "parent", "-1", "-1"),
        (2, "location", "1.5,2,3", "1.5,2.0,3.0"),
    ],
)
def test_fields_are_set_by_words(server, own, number, field, value, text):
    answer = server.get(f"{own}/setField/{number}/{field}/{value}/", "alice")
    assert (answer.status_code, answer.data) == (200, b"")
    assert server.get(f"{own}/getField/{number}/{field}/", "alice").text == text


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("1/status/aa", "ValidationError"),
        ("1/centroid/1,2", "ValidationError"),
        ("1/annid/7", "InvalidArgumentError"),
        ("3/synapses/7", "InvalidArgumentError"),
        ("3/organelles/7", "InvalidArgumentError"),
        # HDF5 has no NUL in a text, so that the object could not be read any more.
        ("1/author/a%00b", "ValidationError"),
        ("1/k%00/v", "ValidationError"),
        ("99/status/1", "NotFoundError"),
        ("0/status/1", "NotFoundError"),
        ("1/status", "RouteNotFoundError"),
        ("x/status/1", "RouteNotFoundError"),
    ],
)
def test_values_that_cannot_be_set_change_nothing(server, own, path, error):
    """ndstore stored ``aa`` as a status, and the object could not be read any more."""
    with server.unchanged():
        assert_problem(server.get(f"{own}/setField/{path}/", "alice"), 404, error)


# --- CSV ------------------------------------------------------------------------------------


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


def test_csv_of_what_is_not_there_is_404(server):
    assert_problem(server.get(f"{SD}/csv/99/0/", "alice"), 404, "NotFoundError")
    assert_problem(server.get(f"{SD}/csv/1/9/", "alice"), 404, "ResolutionNotFoundError")


# --- /ramon ---------------------------------------------------------------------------------


def test_ramon_gives_json(server):
    assert server.read(f"{RAMON}/1/") == server.read(f"{LABELS}/1/json/")
    assert list(json.loads(server.read(f"{RAMON}/2,1/"))) == ["2", "1"]
    assert server.read(f"{RAMON}/1/?format=old") == server.read(f"{LABELS}/1/json/?format=old")


@pytest.mark.parametrize(
    ("rest", "corner", "size"), [("", [60, 50, 10], [1, 1, 1]), ("0/", [60, 50, 10], [1, 1, 1])]
)
def test_ramon_gives_boxes(server, rest, corner, size):
    found = json.loads(server.read(f"{RAMON}/2/boundingbox/{rest}"))["2"]
    assert (found["bbcorner"], found["bbdim"], found["ann_type"]) == (corner, size, 4)


def test_ramon_gives_no_box_of_what_has_no_voxels(server):
    assert "bbcorner" not in json.loads(server.read(f"{RAMON}/3/boundingbox/"))["3"]


@pytest.mark.parametrize(
    ("words", "ids"),
    [("sky/blue", [1]), ("ann_type/4", [2, 3]), ("seg_neuron/4", [2, 3]), ("no/such", [])],
)
def test_ramon_gives_ids_as_a_list(server, words, ids):
    answer = server.get(f"{RAMON}/query/{words}/", "alice")
    assert (answer.status_code, answer.get_json()) == (200, ids)


@pytest.mark.parametrize(
    ("rest", "keys"),
    [
        ("", ["sky", "sea"]),
        ("1/", ["sky"]),
        ("type/2/", ["sea", "sky"]),
        ("5/type/4/", ["sky"]),
        ("type/5/", []),
    ],
)
def test_ramon_gives_the_most_frequent_keys_first(server, rest, keys):
    assert server.get(f"{RAMON}/topkeys/{rest}", "alice").get_json() == keys


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        ("99", "NotFoundError"),
        ("1,99", "NotFoundError"),
        ("0", "NotFoundError"),
        ("99/boundingbox", "NotFoundError"),
        ("1/boundingbox/9", "ResolutionNotFoundError"),
        ("5/boundingbox", "InvalidArgumentError"),
        ("topkeys/0", "InvalidArgumentError"),
        ("topkeys/99999999999", "InvalidArgumentError"),
        ("topkeys/type/10", "ValidationError"),
        ("query/sky", "PathSyntaxError"),
        ("x", "RouteNotFoundError"),
        ("1?format=xml", "UnknownNameError"),
    ],
)
def test_what_ramon_cannot_give_is_404(server, rest, error):
    assert_problem(server.get(f"{RAMON}/{rest}", "alice"), 404, error)


def test_ramon_is_not_for_images(server):
    for rest in ("1/", "1/boundingbox/", "query/sky/blue/", "topkeys/"):
        answer = server.get(f"{EM.replace('/sd', '/ramon')}/{rest}", "alice")
        assert_problem(answer, 404, "InvalidArgumentError")


# --- ndio -----------------------------------------------------------------------------------


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
