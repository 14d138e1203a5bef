"""Ids over ndstore's routes: at a voxel, in a region, several at one, reserved, merged."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.support import bodies
from tests.support.annotation_server import BIG, EM, LABELS, PLAIN, SD, annotating, one, put
from tests.support.app import Server, assert_problem
from tests.support.ramon_files import cutout, ramon_file, read_file, voxels


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    with annotating(tmp_path) as server:
        yield server


POINT = [40, 50, 10]
AT = "0/40/50/10"
BOX = "0/38,44/48,54/9,13/"


def text(server: Server, path: str) -> str:
    answer = server.get(path, "alice")
    assert (answer.status_code, answer.content_type) == (200, "text/html"), answer.text
    return answer.text


# --- at a voxel -----------------------------------------------------------------------------


def test_the_label_of_a_voxel_is_text(server: Server) -> None:
    put(server, BIG, str(2**63), **voxels([POINT]))
    assert text(server, f"{BIG}/id/{AT}/") == str(2**63)
    assert text(server, f"{BIG}/id/0/41/50/10/") == "0"


def test_a_voxel_may_be_asked_at_a_time(server: Server) -> None:
    server.write(f"{LABELS}/npz/{BOX}2,3/", bodies.npz(np.full((1, 1, 4, 6, 6), 9, np.uint32)))
    assert text(server, f"{LABELS}/id/{AT}/2/") == "9"
    assert text(server, f"{LABELS}/id/{AT}/") == "0"


@pytest.mark.parametrize(
    "at",
    ["0/9/50/10", "0/210/50/10", "0/40/50/4", "0/40/50/75", "3/40/50/10", "0/40/50/" + "9" * 20],
)
def test_voxels_outside_are_404(server: Server, at: str) -> None:
    answer = server.get(f"{LABELS}/id/{at}/", "alice")
    assert answer.status_code == 404
    assert answer.get_json(force=True)["type"].endswith(
        "ResolutionNotFoundError" if at[0] == "3" else "OutOfBoundsError"
    )


def test_a_voxel_outside_is_named_as_it_was_asked_for(server: Server) -> None:
    """The dataset begins at (10, 20, 5); the answer spoke of (-1, 30, 5) for x = 9."""
    answer = server.get(f"{LABELS}/id/0/9/50/10/", "alice")
    problem = assert_problem(answer, 404, "OutOfBoundsError")
    assert "(9, 50, 10) to (10, 51, 11)" in problem["detail"]
    assert "from (10, 20, 5) to (210, 170, 75)" in problem["detail"]


@pytest.mark.parametrize("at", ["0/-1/50/10", "0/40/50", "0/a/b/c", "0/1.5/2/3", "0/" + "9" * 99])
def test_voxels_that_are_no_numbers_have_no_route(server: Server, at: str) -> None:
    assert server.get(f"{LABELS}/id/{at}/", "alice").status_code == 404


# --- in a region ----------------------------------------------------------------------------


def test_the_labels_of_a_region_are_a_list_in_text_with_extra_ones(server: Server) -> None:
    """A label that begins with 0, or a list that begins with one, came out broken in ndstore."""
    put(server, LABELS, "30", **voxels([POINT, [41, 50, 10]]))
    put(server, LABELS, "5", **voxels([[43, 53, 12]]))
    body = ramon_file({"2000000000": voxels([POINT])})
    assert server.post(f"{LABELS}/exception/", "alice", data=body).status_code == 200
    put(server, LABELS, "6", **voxels([[44, 50, 10]]))  # beside the region
    assert text(server, f"{LABELS}/ids/{BOX}") == "5, 30, 2000000000"


def test_a_region_without_labels_is_an_empty_body(server: Server) -> None:
    assert text(server, f"{LABELS}/ids/{BOX}") == ""


def test_labels_of_several_times_are_one_list(server: Server) -> None:
    for time, number in ((1, 9), (2, 4)):
        labels = np.full((1, 1, 4, 6, 6), number, np.uint32)
        server.write(f"{LABELS}/npz/{BOX}{time},{time + 1}/", bodies.npz(labels))
    assert text(server, f"{LABELS}/ids/{BOX}1,3/") == "4, 9"
    assert text(server, f"{LABELS}/ids/{BOX}") == ""


def test_a_path_without_channel_means_the_first_annotation_channel(server: Server) -> None:
    put(server, LABELS, "7", **voxels([POINT]))
    assert text(server, f"{SD}/id/{AT}/") == "7"
    assert text(server, f"{SD}/ids/{BOX}") == "7"
    assert read_file(server.read(f"{SD}/exceptions/{BOX}"))["exceptions"].shape == (3,)


@pytest.mark.parametrize("what", ["ids", "exceptions"])
@pytest.mark.parametrize(
    ("region", "error"),
    [
        ("0/9,12/48,54/9,13", "OutOfBoundsError"),
        ("0/38,211/48,54/9,13", "OutOfBoundsError"),
        ("0/38,38/48,54/9,13", "EmptyBoxError"),
        ("0/44,38/48,54/9,13", "EmptyBoxError"),
        ("9/38,44/48,54/9,13", "ResolutionNotFoundError"),
        ("0/38,44/48,54", "PathSyntaxError"),
        ("0/38,44/48,54/9,13/neariso", "PathSyntaxError"),
        ("0/38,44/48,54/9,13/1,2/3,4", "PathSyntaxError"),
        ("0/38,44/48,54/9,x", "PathSyntaxError"),
        ("0/-1,44/48,54/9,13", "PathSyntaxError"),
        ("0/38,44/48,54/9," + "9" * 40, "PathSyntaxError"),
    ],
)
def test_regions_that_are_none_are_404(server: Server, what: str, region: str, error: str) -> None:
    assert_problem(server.get(f"{LABELS}/{what}/{region}/", "alice"), 404, error)


# --- several at a voxel ---------------------------------------------------------------------


@pytest.mark.parametrize("path", [LABELS, BIG])
def test_exceptions_are_rows_of_absolute_places_and_labels(server: Server, path: str) -> None:
    extra = 2**40 if path == BIG else 20
    put(server, path, "30", **voxels([POINT, [41, 50, 10]]))
    for number, points in ((extra, [POINT]), (7, [POINT, [41, 50, 10]])):
        body = ramon_file({str(number): voxels(points)})
        assert server.post(f"{path}/exception/", "alice", data=body).status_code == 200
    rows = read_file(server.read(f"{path}/exceptions/{BOX}"))["exceptions"]
    assert rows.dtype == (np.uint64 if path == BIG else np.uint32)
    assert rows.tolist() == [[*POINT, 30, 7, extra], [41, 50, 10, 30, 7, 0]]


def test_no_exceptions_are_ndstores_three_bytes(server: Server) -> None:
    rows = read_file(server.read(f"{LABELS}/exceptions/{BOX}"))["exceptions"]
    assert (rows.shape, rows.dtype) == ((3,), np.uint8)


def test_exceptions_go_with_their_object(server: Server) -> None:
    put(server, LABELS, "30", **voxels([POINT]))
    server.post(f"{LABELS}/exception/", "alice", data=ramon_file({"7": voxels([POINT])}))
    assert server.call("DELETE", f"{LABELS}/7/", "alice").status_code == 200
    assert read_file(server.read(f"{LABELS}/exceptions/{BOX}"))["exceptions"].shape == (3,)


# --- reserved -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/sd/anno/labels/reserve/5/"),
        ("GET", "/nd//sd/anno/labels/reserve/5/"),
        ("GET", "/nd/anno/labels/reserve/5/"),
        ("POST", "/ocp/ca/anno/labels/reserve/5"),
    ],
)
def test_reserving_gives_the_first_id_and_the_count(server: Server, method: str, path: str) -> None:
    put(server, LABELS, "7")
    answer = server.call(method, path, "alice")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.get_json() == [8, 5]
    assert put(server, LABELS) == 13


def test_of_many_who_reserve_at_once_none_is_given_the_same(server: Server) -> None:
    def reserve(count: int) -> list[int]:
        first, given = server.post(f"{LABELS}/reserve/{count}/", "alice").get_json()
        return list(range(first, first + given))

    with ThreadPoolExecutor(8) as pool:
        blocks = list(pool.map(reserve, [1, 3, 2, 5] * 8))
    ids = [number for block in blocks for number in block]
    assert sorted(ids) == list(range(1, len(ids) + 1))


@pytest.mark.parametrize(
    ("count", "error"),
    [
        ("0", "InvalidArgumentError"),
        (str(2**32), "InvalidStateError"),
        ("9" * 20, "InvalidStateError"),
        ("9" * 21, "RouteNotFoundError"),
        ("-1", "RouteNotFoundError"),
        ("five", "UnknownNameError"),  # words behind a channel are options of an upload
    ],
)
def test_what_cannot_be_reserved_uses_no_ids_up(server: Server, count: str, error: str) -> None:
    with server.unchanged():
        assert_problem(server.post(f"{LABELS}/reserve/{count}/", "alice"), 404, error)


# --- merged ---------------------------------------------------------------------------------


@pytest.fixture
def three(server: Server) -> Server:
    """Objects 5, 6 and 7 with a voxel each at two resolutions, and 8, which refers to 6 and 7."""
    for place, number in enumerate((5, 6, 7)):
        put(server, LABELS, str(number), ANNOTATION_TYPE=4, **voxels([[40 + place, 50, 10]]))
        server.post(
            f"{LABELS}/update/",
            "alice",
            data=ramon_file(
                {str(number): {"ANNOTATION_TYPE": 4, **voxels([[20 + place, 25, 10]], 1)}}
            ),
        )
    put(server, LABELS, "8", ANNOTATION_TYPE=2, METADATA={"SEGMENTS": [6, 7]})
    return server


def labels_at(server: Server) -> tuple[list[str], list[str]]:
    """Return the labels of the three voxels, at resolution 0 and at 1."""
    fine = [text(server, f"{LABELS}/id/0/{x}/50/10") for x in (40, 41, 42)]
    return fine, [text(server, f"{LABELS}/id/1/{x}/25/10") for x in (20, 21, 22)]


@pytest.mark.parametrize("rest", ["global/", "global"])
def test_a_merge_gives_all_voxels_and_references_to_the_first(three: Server, rest: str) -> None:
    for _ in range(2):  # as after a lost answer
        answer = three.post(f"{LABELS}/merge/6,7,5/{rest}", "alice")
        assert (answer.status_code, answer.text) == (200, "Merged Id's [7, 5] into 6")
    assert labels_at(three) == (["6"] * 3, ["6"] * 3)
    for number in (5, 7):
        assert three.get(f"{LABELS}/{number}/", "alice").status_code == 404
    assert one(three, f"{LABELS}/8/")["METADATA"]["SEGMENTS"].tolist() == [6]


def test_a_merge_at_a_resolution_relabels_that_one(three: Server) -> None:
    """As in ndstore's ``global/R/``: the objects are merged, other resolutions keep the labels."""
    assert three.post(f"{LABELS}/merge/6,5/global/1/", "alice").status_code == 200
    assert labels_at(three) == (["5", "6", "7"], ["6", "6", "7"])
    assert three.get(f"{LABELS}/5/", "alice").status_code == 404


def test_a_merge_in_a_region_keeps_the_objects(three: Server) -> None:
    answer = three.post(f"{LABELS}/merge/6,5,7/0/38,42/48,54/9,13/", "alice")
    assert answer.text == "Merged Id's [5, 7] into 6"
    assert labels_at(three) == (["6", "6", "7"], ["5", "6", "7"])
    for number in (5, 7):
        assert three.get(f"{LABELS}/{number}/", "alice").status_code == 200


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        ("6/global", "InvalidArgumentError"),
        ("6,6/global", "InvalidArgumentError"),
        ("6,99/global", "NotFoundError"),
        ("99,6/global", "NotFoundError"),
        ("6,99/0/38,42/48,54/9,13", "NotFoundError"),
        ("6,7/global/9", "ResolutionNotFoundError"),
        ("6,7/0/38,42/48,54", "PathSyntaxError"),
        ("6,7/0/38,42/48,54/9,999", "OutOfBoundsError"),
        ("6,7/local", "PathSyntaxError"),
        ("6,x/global", "RouteNotFoundError"),
        (f"6,{2**64}/global", "InvalidArgumentError"),
    ],
)
def test_what_cannot_be_merged_is_left_as_it_is(three: Server, rest: str, error: str) -> None:
    with three.unchanged():
        answer = three.post(f"{LABELS}/merge/{rest}/", "alice")
        assert_problem(answer, 404, error)


def test_merging_is_not_for_images(server: Server) -> None:
    with server.unchanged():
        assert_problem(server.post(f"{EM}/merge/1,2/global/", "alice"), 404, "InvalidArgumentError")


def test_a_cutout_with_a_filter_shows_the_objects_of_the_list(server: Server) -> None:
    put(server, PLAIN, "7", **cutout((38, 48, 9), np.ones((2, 3, 4))))
    put(server, PLAIN, "8", **voxels([[43, 53, 12]]))
    found = bodies.from_npz(server.read(f"{PLAIN}/npz/{BOX}filter/8,9/"))
    assert np.unique(found).tolist() == [0, 8]
