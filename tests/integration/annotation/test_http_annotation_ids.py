"""Ids over ndstore's routes: the words and paths by which they are asked for."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ndlambda.model.dtypes import DataType
from tests.support import bodies
from tests.support.annotation_server import LABELS, SD, annotating, new_channel, put
from tests.support.app import Server, assert_problem, server_fixture
from tests.support.ramon_files import ramon_file, read_file, voxels

server = server_fixture(annotating)


POINT = [40, 50, 10]
AT = "0/40/50/10"
BOX = "0/38,44/48,54/9,13/"


def text(server: Server, path: str) -> str:
    answer = server.get(path, "alice")
    assert (answer.status_code, answer.content_type) == (200, "text/html"), answer.text
    return answer.text


def test_a_voxel_may_be_asked_at_a_time(server, labels):
    server.write(f"{labels}/npz/{BOX}2,3/", bodies.npz(np.full((1, 1, 4, 6, 6), 9, np.uint32)))
    assert text(server, f"{labels}/id/{AT}/2/") == "9"
    assert text(server, f"{labels}/id/{AT}/") == "0"


def test_a_voxel_outside_is_named_as_it_was_asked_for(server, labels):
    """The dataset begins at (10, 20, 5); the answer spoke of (-1, 30, 5) for x = 9."""
    far = server.get(f"{labels}/id/0/40/50/{'9' * 20}/", "alice")
    assert_problem(far, 404, "OutOfBoundsError")
    answer = server.get(f"{labels}/id/0/9/50/10/", "alice")
    problem = assert_problem(answer, 404, "OutOfBoundsError")
    assert "(9, 50, 10) to (10, 51, 11)" in problem["detail"]
    assert "from (10, 20, 5) to (210, 170, 75)" in problem["detail"]


def test_voxels_that_are_no_numbers_have_no_route(server):
    for at in ("0/-1/50/10", "0/40/50", "0/a/b/c", "0/1.5/2/3", "0/" + "9" * 99):
        assert server.get(f"{LABELS}/id/{at}/", "alice").status_code == 404


def test_the_labels_of_a_region_are_words_of_a_list(server, labels):
    """A label that begins with 0, or a list that begins with one, came out broken in ndstore."""
    assert text(server, f"{labels}/ids/{BOX}") == ""
    put(server, labels, "30", **voxels([POINT]))
    put(server, labels, "5", **voxels([[43, 53, 12]]))
    assert text(server, f"{labels}/ids/{BOX}") == "5, 30"
    assert text(server, f"{labels}/id/{AT}/") == "30"


def test_labels_of_several_times_are_one_list(server, labels):
    for time, number in ((1, 9), (2, 4)):
        block = np.full((1, 1, 4, 6, 6), number, np.uint32)
        server.write(f"{labels}/npz/{BOX}{time},{time + 1}/", bodies.npz(block))
    assert text(server, f"{labels}/ids/{BOX}1,3/") == "4, 9"
    assert text(server, f"{labels}/ids/{BOX}") == ""


def test_a_path_without_channel_means_the_first_annotation_channel(server):
    number = put(server, LABELS, **voxels([POINT]))
    assert text(server, f"{SD}/id/{AT}/") == f"{number}"
    assert text(server, f"{SD}/ids/{BOX}") == f"{number}"
    assert read_file(server.read(f"{SD}/exceptions/{BOX}"))["exceptions"].shape == (3,)


@pytest.mark.parametrize("rest", [
    "38,44/48,54", "38,44/48,54/9,13/neariso", "38,44/48,54/9,13/1,2/3,4", "38,44/48,54/9,x",
    "-1,44/48,54/9,13", "38,44/48,54/9," + "9" * 40,
])  # fmt: skip
def test_regions_that_are_none_are_404(server, rest):
    for what in ("ids", "exceptions"):
        answer = server.get(f"{LABELS}/{what}/0/{rest}/", "alice")
        assert_problem(answer, 404, "PathSyntaxError")
        for empty in ("38,38", "44,38"):
            answer = server.get(f"{LABELS}/{what}/0/{empty}/48,54/9,13/", "alice")
            assert_problem(answer, 404, "EmptyBoxError")


@pytest.mark.parametrize("datatype", [DataType.UINT32, DataType.UINT64])
def test_exceptions_are_rows_of_absolute_places_and_labels(server, datatype):
    path = f"{SD}/{new_channel(server, datatype=datatype).name}"
    extra = 2**40 if datatype is DataType.UINT64 else 20
    put(server, path, "30", **voxels([POINT, [41, 50, 10]]))
    for number, points in ((extra, [POINT]), (7, [POINT, [41, 50, 10]])):
        body = ramon_file({str(number): voxels(points)})
        assert server.post(f"{path}/exception/", "alice", data=body).status_code == 200
    rows = read_file(server.read(f"{path}/exceptions/{BOX}"))["exceptions"]
    assert rows.dtype == datatype.numpy
    assert rows.tolist() == [[*POINT, 30, 7, extra], [41, 50, 10, 30, 7, 0]]


def test_no_exceptions_are_ndstores_three_bytes(server, labels):
    rows = read_file(server.read(f"{labels}/exceptions/{BOX}"))["exceptions"]
    assert (rows.shape, rows.dtype) == ((3,), np.uint8)


@pytest.mark.parametrize(("method", "path"), [
    ("POST", "/sd/anno/{}/reserve/5/"), ("GET", "/nd//sd/anno/{}/reserve/5/"),
    ("GET", "/nd/anno/{}/reserve/5/"), ("POST", "/ocp/ca/anno/{}/reserve/5"),
])  # fmt: skip
def test_reserving_gives_the_first_id_and_the_count(server, method, path, labels):
    put(server, labels, "7")
    answer = server.call(method, path.format(labels.rpartition("/")[2]), "alice")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.get_json() == [8, 5]
    assert put(server, labels) == 13


def test_of_many_who_reserve_at_once_none_is_given_the_same(server, labels):
    def reserve(count: int) -> list[int]:
        first, given = server.post(f"{labels}/reserve/{count}/", "alice").get_json()
        return list(range(first, first + given))

    with ThreadPoolExecutor(8) as pool:
        blocks = list(pool.map(reserve, [1, 3, 2, 5] * 8))
    ids = [number for block in blocks for number in block]
    assert sorted(ids) == list(range(1, len(ids) + 1))


@pytest.mark.parametrize(("count", "error"), [
    ("0", "InvalidArgumentError"), (str(2**32), "InvalidStateError"),
    ("9" * 20, "InvalidStateError"),
    ("9" * 21, "RouteNotFoundError"), ("-1", "RouteNotFoundError"), ("five", "RouteNotFoundError"),
])  # fmt: skip
def test_what_cannot_be_reserved_uses_no_ids_up(server, count, error, labels):
    with server.unchanged():
        assert_problem(server.post(f"{labels}/reserve/{count}/", "alice"), 404, error)


def test_merges_are_words_of_a_path(server, labels):
    for number in (6, 7, 8):
        put(server, labels, f"{number}", **voxels([[number + 40, 50, 10]]))
    with server.unchanged():
        for rest, error in (
            ("6/global", "InvalidArgumentError"),
            ("6,7/0/38,42/48,54", "PathSyntaxError"),
            ("6,7/local", "PathSyntaxError"),
            ("6,x/global", "RouteNotFoundError"),
            (f"6,{2**64}/global", "InvalidArgumentError"),
        ):
            assert_problem(server.post(f"{labels}/merge/{rest}/", "alice"), 404, error)
    answer = server.post(f"{labels}/merge/6,8,7/global", "alice")
    assert (answer.status_code, answer.text) == (200, "Merged Id's [8, 7] into 6")
