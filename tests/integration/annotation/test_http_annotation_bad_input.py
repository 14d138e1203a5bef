"""Annotation requests that cannot be followed: the contract's status, and nothing half-written.

ndstore answers 404 to all faults of a request here; a body or an answer that is too long is 413.
"""

import h5py
import numpy as np
import pytest

from tests.support import bodies
from tests.support.annotation_server import BIG, LABELS, PLAIN, annotating, put
from tests.support.app import Server, assert_problem
from tests.support.ramon_files import cutout, ramon_file, voxels


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Objects 5 (segment), 6 (seed), 7 (deleted) and voxels of 5; nothing here changes them."""
    with annotating(tmp_path_factory.mktemp("bad")) as server:
        for path in (LABELS, BIG, PLAIN):
            put(server, path, "5", ANNOTATION_TYPE=4, **voxels([[40, 50, 10]]))
            put(server, path, "6", ANNOTATION_TYPE=3)
            put(server, path, "7")
            assert server.call("DELETE", f"{path}/7/", "alice").status_code == 200
        yield server


def refused(server: Server, path: str, body: bytes, error: str, status: int = 404) -> None:
    with server.unchanged():
        assert_problem(server.post(path, "alice", data=body), status, error)


GOOD = voxels([[40, 50, 10]])
MASK = np.ones((2, 3, 4))
ANYWHERE = (40, 50, 10)
WORDS = ("", "overwrite/", "preserve/", "exception/", "update/", "dataonly/", "reduce/")


def test_numbers_beyond_64_bits_are_no_ids(server):
    with server.unchanged():
        for ids in (str(2**64), "9" * 20, "9" * 5000, "0" * 30 + "5"):
            for rest in ("", "voxels/0", "json"):
                answer = server.get(f"{LABELS}/{ids}/{rest}", "alice")
                assert_problem(answer, 404, "InvalidArgumentError")
            answer = server.call("DELETE", f"{LABELS}/{ids}/", "alice")
            assert_problem(answer, 404, "InvalidArgumentError")


@pytest.mark.parametrize("ids", ["-5", "5,-6", "five5", "5,five", "5,", ",5", "5,,6", "5.0", "٥"])
def test_lists_that_are_no_ids_have_no_route(server, ids):
    with server.unchanged():
        for rest in ("", "json/", "voxels/0/", "nodata/"):
            assert_problem(server.get(f"{LABELS}/{ids}/{rest}", "alice"), 404, "RouteNotFoundError")
        answer = server.call("DELETE", f"{LABELS}/{ids}/", "alice")
        assert answer.status_code in {404, 405}


def test_more_ids_than_one_call_names_are_413(server):
    ids = ",".join(map(str, range(1, 10_002)))
    with server.unchanged():
        for method in ("GET", "DELETE"):
            answer = server.call(method, f"{LABELS}/{ids}/", "alice")
            assert_problem(answer, 413, "PayloadTooLargeError")


@pytest.mark.parametrize("word", WORDS)
def test_group_names_that_are_no_ids_of_the_channel_are_refused(server, word):
    for path, name in ((LABELS, str(2**32)), (PLAIN, str(2**40)), (BIG, "-1"), (BIG, str(2**64))):
        refused(server, f"{path}/{word}", ramon_file({name: GOOD}), "InvalidArgumentError")


@pytest.mark.parametrize("name", ["99", "7"])
def test_an_update_of_what_is_not_there_is_refused(server, name):
    with server.unchanged():
        document = {name: {"ann_type": 1, "ann_id": int(name)}}
        for words in ("update/json/", "json/update/"):
            sent = server.post(f"{LABELS}/{words}", "alice", json=document)
            assert_problem(sent, 404, "NotFoundError")


BAD_OPTIONS: dict[str, tuple[str, ...]] = {
    "UnknownNameError": ("scribble/", "overwrite/scribble/"),
    "InvalidArgumentError": (
        "overwrite/preserve/", "preserve/exception/", "update/dataonly/", "reduce/update/",
        "reduce/preserve/",
    ),
}  # fmt: skip
BAD_WISHES: dict[str, tuple[str, ...]] = {
    "UnknownNameError": ("everything", "voxel/0", "json/0"),
    "PathSyntaxError": (
        "nodata/0", "voxels", "voxels/x", "voxels/-1", "voxels/0/1", "voxels/999999", "cutout",
        "cutout/0/38,44/48,54", "boundingbox",
    ),
    "EmptyBoxError": ("cutout/0/38,38/48,54/9,13", "cutout/0/44,38/48,54/9,13"),
    "OutOfBoundsError": ("cutout/0/38,44/48,54/9,76",),
    "ResolutionNotFoundError": ("cuboids/9",),
}  # fmt: skip
NO_OBJECT = ("99", "0", "5,99", "7,5")


def test_what_cannot_be_read_is_404(server):
    for error, rests in BAD_WISHES.items():
        for rest in rests:
            assert_problem(server.get(f"{LABELS}/5/{rest}/", "alice"), 404, error)
    region = "cutout/0/38,44/48,54/9,13"
    for rest in ("", "nodata", "voxels/0", "cutout/0", region, "boundingbox/0", "json"):
        for ids in NO_OBJECT:
            assert_problem(server.get(f"{LABELS}/{ids}/{rest}", "alice"), 404, "NotFoundError")
    assert_problem(server.get(f"{LABELS}/{2**64 - 1}/", "alice"), 404, "NotFoundError")


def test_options_that_cannot_be_followed_are_refused(server):
    for error, several in BAD_OPTIONS.items():
        for words in several:
            refused(server, f"{LABELS}/{words}", ramon_file({"5": GOOD}), error)
    for word, name in (("update/", "0"), ("dataonly/", "noid.0"), ("reduce/", "0")):
        refused(server, f"{LABELS}/{word}", ramon_file({name: GOOD}), "InvalidArgumentError")


def metadata(**values: object) -> bytes:
    return ramon_file({"9": {"METADATA": values}})


@pytest.mark.parametrize("words", ["Overwrite/", "overwrite/2/", "over-write/", "5/voxels/0/"])
def test_options_that_are_no_words_have_no_route(server, words):
    with server.unchanged():
        answer = server.post(f"{LABELS}/{words}", "alice", data=ramon_file({"9": GOOD}))
        assert answer.status_code in {404, 405}


def damaged() -> bytes:
    whole = ramon_file({"9": {**GOOD, "METADATA": {"AUTHOR": "x"}}})
    return whole[: len(whole) // 2]


# What else a file may have wrong is held against the decoder, in tests/unit/wire.
BODIES: dict[str, tuple[bytes, str | None]] = {
    "nothing": (b"", "MalformedBodyError"),
    "half a file": (damaged(), "MalformedBodyError"),
    "an external link": (
        bodies.hdf5_file(lambda file: file.__setitem__("9", h5py.ExternalLink("/etc/passwd", "/"))),
        "MalformedBodyError",
    ),
    "a type that there is not": (ramon_file({"9": {"ANNOTATION_TYPE": 10}}), "ValidationError"),
    "two types": (ramon_file({"9": {"ANNOTATION_TYPE": [1, 2]}}), "ShapeMismatchError"),
    "a status in words": (metadata(STATUS="done"), None),
    "a negative status": (metadata(STATUS=-1), "ValidationError"),
    "voxels in one row": (ramon_file({"9": voxels(np.ones(6))}), "ShapeMismatchError"),
    "a block without corner": (
        ramon_file({"9": {"RESOLUTION": 0, "CUTOUT": MASK.astype(np.uint32)}}),
        "InvalidArgumentError",
    ),
    "an empty block": (ramon_file({"9": cutout(ANYWHERE, MASK[:0])}), "ShapeMismatchError"),
    "a seed with voxels": (ramon_file({"9": {"ANNOTATION_TYPE": 3, **GOOD}}), None),
    "a reserved name as a key": (metadata(KVPAIRS="ann_type,2\r\n"), "ValidationError"),
    "a key without value": (metadata(KVPAIRS="alone\r\n"), "MalformedBodyError"),
}


def test_bodies_that_are_no_objects_write_nothing(server):
    with server.unchanged():
        for name, (data, error) in BODIES.items():
            answer = server.post(f"{LABELS}/", "alice", data=data)
            assert answer.status_code == 404, (name, answer.text)
            assert answer.content_type == "application/problem+json"
            if error is not None:
                assert_problem(answer, 404, error)


def test_arrays_that_inflate_over_the_limit_are_413(tmp_path):
    """The memory that one body may make us take is a share of all; the hold fails before that."""
    bomb = bodies.hdf5_file(
        lambda file: file.create_group("9").create_dataset(
            "VOXELS", (1 << 20, 3), np.uint32, compression="gzip", fillvalue=50
        )
    )
    assert len(bomb) < 1 << 14
    with annotating(tmp_path, max_memory_bytes=32 << 20) as server:
        refused(server, f"{LABELS}/", bomb, "PayloadTooLargeError", 413)
        assert put(server, LABELS, "5", **GOOD) == 5


def test_a_body_by_its_length_over_the_limit_is_refused_unread(tmp_path):
    with annotating(tmp_path, max_memory_bytes=1 << 20) as server:
        refused(server, f"{LABELS}/", bytes(5 << 20), "PayloadTooLargeError", 413)
