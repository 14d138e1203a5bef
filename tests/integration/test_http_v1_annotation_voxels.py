"""Voxels, masks, boxes and labels of objects over the v1 routes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from werkzeug.test import TestResponse

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.annotation import erasing
from ndlambda.services.catalog.deletion_jobs import job_id_of
from ndlambda.space.pyramid import Scaling
from tests.support.app import V1, Server, assert_problem, serving
from tests.support.bodies import Array, from_npy, npy

OFFSET = (10, 20, 5)
SIZE = (200, 100, 70)
BRAIN = Dataset("anno", SIZE, offset_xyz=OFFSET, scaling=Scaling.ISOTROPIC, scalinglevels=2)
BASE = f"{V1}/anno/channels/cells"
BOX = "x=70:75&y=80:84&z=66:69"
CORNER, SHAPE = (70, 80, 66), (3, 4, 5)
MASK = np.random.default_rng(5).random(SHAPE) < 0.5


@contextmanager
def labelled(folder: Path) -> Iterator[Server]:
    """Return a server with segments 1 and 2 of the neuron 3, and the seed 4. None has voxels."""
    cells = Channel("", "cells", ChannelType.ANNOTATION, DataType.UINT64)
    layered = Channel("", "layered", ChannelType.ANNOTATION, DataType.UINT32, exceptions=True)
    with serving(folder) as server:
        server.add_volume(BRAIN, cells, layered)
        segment = {"type": "segment", "neuron": 3}
        for name in ("cells", "layered"):
            path = f"{V1}/anno/channels/{name}/annotations"
            objects = [segment, segment, {"type": "neuron"}, {"type": "seed"}]
            assert server.post(path, "alice", json=objects).status_code == 201
        yield server


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    with labelled(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that no test changes."""
    with labelled(tmp_path_factory.mktemp("shared")) as server:
        yield server


def paint(server: Server, path: str, array: Array, user: str = "alice") -> TestResponse:
    return server.post(f"{BASE}/annotations/{path}", user, data=npy(array))


def painted(server: Server, path: str, array: Array) -> int:
    answer = paint(server, path, array)
    assert answer.status_code == 200, answer.text
    count: int = answer.get_json()["voxels"]
    return count


def get(server: Server, path: str) -> Any:
    answer = server.get(f"{BASE}/{path}")
    assert answer.status_code == 200, answer.text
    return answer.get_json() if answer.is_json else from_npy(answer.data)


def points_of(mask: Array, corner_xyz: tuple[int, int, int] = CORNER) -> set[tuple[int, ...]]:
    return {tuple(row) for row in (np.argwhere(mask)[:, ::-1] + corner_xyz).tolist()}


def rows(points: Array) -> set[tuple[int, ...]]:
    assert len(np.unique(points, axis=0)) == len(points)
    return {tuple(row) for row in points.tolist()}


# --- painting and reading back --------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint32", "int64", "uint8", ">i4"])
def test_voxels_painted_as_a_list_are_given_as_a_list(server: Server, dtype: str) -> None:
    points = np.array([[70, 80, 66], [71, 80, 66], [199, 119, 70], [71, 80, 66]], dtype)
    assert painted(server, "1/voxels", points) == 4
    answer = server.get(f"{BASE}/annotations/1/voxels")
    assert answer.content_type == "application/x-npy"
    assert answer.headers["X-NDLambda-Shape"] == "3,3"
    found = from_npy(answer.data)
    assert found.dtype == np.uint32
    assert rows(found) == {(70, 80, 66), (71, 80, 66), (199, 119, 70)}


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", ">u2"])
def test_a_mask_is_painted_and_given_back(server: Server, dtype: str) -> None:
    assert painted(server, f"1/cutout?{BOX}", MASK.astype(dtype)) == MASK.sum()
    answer = server.get(f"{BASE}/annotations/1/cutout?{BOX}")
    assert answer.headers["X-NDLambda-Corner"] == "70,80,66"
    assert "X-NDLambda-Corner" in answer.headers["Access-Control-Expose-Headers"]
    found = from_npy(answer.data)
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, MASK)
    assert rows(get(server, "annotations/1/voxels")) == points_of(MASK)


def test_a_mask_in_fortran_order_is_the_same_mask(server: Server) -> None:
    painted(server, f"1/cutout?{BOX}", np.asfortranarray(MASK))
    np.testing.assert_array_equal(get(server, f"annotations/1/cutout?{BOX}"), MASK)


def test_a_cutout_without_a_box_is_of_whole_cuboids_and_says_where(server: Server) -> None:
    painted(server, f"1/cutout?{BOX}", MASK)
    answer = server.get(f"{BASE}/annotations/1/cutout")
    corner = tuple(map(int, answer.headers["X-NDLambda-Corner"].split(",")))
    found = from_npy(answer.data)
    assert [(at - offset) % 64 for at, offset in zip(corner, OFFSET, strict=True)] == [0, 0, 0]
    assert points_of(found, corner) == points_of(MASK)


def test_other_labels_are_no_part_of_an_object(server: Server) -> None:
    painted(server, f"1/cutout?{BOX}", MASK)
    painted(server, f"2/cutout?{BOX}&discipline=preserve", np.ones(SHAPE, "u1"))
    np.testing.assert_array_equal(get(server, f"annotations/1/cutout?{BOX}"), MASK)
    np.testing.assert_array_equal(get(server, f"annotations/2/cutout?{BOX}"), ~MASK)
    assert get(server, f"annotations/3/cutout?{BOX}").all()  # the neuron of both


def test_reduce_takes_voxels_from_an_object(server: Server) -> None:
    painted(server, f"1/cutout?{BOX}", MASK)
    half = MASK.copy()
    half[1:] = False
    painted(server, f"1/cutout?{BOX}&discipline=reduce", half)
    np.testing.assert_array_equal(get(server, f"annotations/1/cutout?{BOX}"), MASK & ~half)
    rest = np.argwhere(MASK & ~half)[:, ::-1] + CORNER
    painted(server, "1/voxels?discipline=reduce", rest)
    assert get(server, "annotations/1/voxels").shape == (0, 3)


def test_objects_without_voxels_have_none(server: Server) -> None:
    assert get(server, "annotations/1/voxels").shape == (0, 3)
    answer = server.get(f"{BASE}/annotations/1/cutout")
    assert "X-NDLambda-Corner" not in answer.headers
    assert from_npy(answer.data).shape == (0, 0, 0)
    assert not get(server, f"annotations/1/cutout?{BOX}").any()
    for query in ("", "?loose=1", "?resolution=1"):
        found = get(server, f"annotations/1/box{query}")
        assert (found["corner"], found["size"]) == (None, [0, 0, 0])
    assert get(server, "annotations/1/cuboids")["mortons"] == []
    assert painted(server, "1/voxels", np.empty((0, 3), int)) == 0


# --- where an object is ---------------------------------------------------------------------


def test_the_tight_box_is_exact_and_the_loose_one_of_cuboids(server: Server) -> None:
    painted(server, "1/voxels", np.array([[75, 90, 8], [80, 86, 69]]))
    tight = get(server, "annotations/1/box")
    assert tight == {"resolution": 0, "corner": [75, 86, 8], "size": [6, 5, 62]}
    loose = get(server, "annotations/1/box?loose=1")
    assert loose == {"resolution": 0, "corner": [74, 84, 5], "size": [64, 64, 128]}
    assert get(server, "annotations/3/box") == tight
    assert get(server, "annotations/3/box?loose=1") == loose


def test_boxes_at_resolutions_that_are_not_painted_show_what_a_cutout_shows(
    server: Server,
) -> None:
    painted(server, "1/voxels", np.array([[74, 90, 13], [80, 86, 69]]))
    mask = get(server, "annotations/1/cutout?resolution=1&x=5:105")
    found = get(server, "annotations/1/box?resolution=1")
    where = np.argwhere(mask)[:, ::-1] + np.array([5, 10, 2])
    assert found["corner"] == where.min(axis=0).tolist()
    assert found["size"] == (where.max(axis=0) + 1 - where.min(axis=0)).tolist()
    loose = get(server, "annotations/1/box?resolution=1&loose=1")
    corner, stop = np.array(loose["corner"]), np.array(loose["corner"]) + loose["size"]
    assert (corner <= where.min(axis=0)).all()
    assert (stop > where.max(axis=0)).all()


def test_cuboids_that_hold_an_object_are_listed_with_their_corners(server: Server) -> None:
    painted(server, "1/voxels", np.array([[10, 20, 5], [80, 86, 69]]))
    painted(server, "2/voxels", np.array([[10, 20, 69]]))
    assert get(server, "annotations/1/cuboids") == {
        "resolution": 0,
        "size": [64, 64, 64],
        "mortons": [0, 7],
        "corners": [[10, 20, 5], [74, 84, 69]],
    }
    assert get(server, "annotations/3/cuboids")["mortons"] == [0, 4, 7]


# --- which labels are there -----------------------------------------------------------------


def test_labels_of_a_box_and_of_a_voxel(server: Server) -> None:
    painted(server, f"1/cutout?{BOX}", MASK)
    painted(server, "2/voxels", np.array([[10, 20, 5]]))
    assert get(server, "ids") == {"ids": [1, 2]}
    assert get(server, f"ids?{BOX}") == {"ids": [1]}
    assert get(server, "ids?x=10:11") == {"ids": [2]}
    assert get(server, "ids?x=11:20") == {"ids": []}
    assert get(server, "ids/at?x=10&y=20&z=5") == {"id": 2}
    assert get(server, "ids/at?x=11&y=20&z=5") == {"id": 0}
    assert get(server, "ids/at?x=5&y=10&z=2&resolution=1") == {"id": 2}
    assert get(server, f"annotations?{BOX}") == {"ids": [1]}
    assert get(server, "annotations?type=segment&x=10:11") == {"ids": [2]}
    assert get(server, "annotations?type=synapse&x=10:11") == {"ids": []}


def test_voxels_with_several_labels_are_given_with_all_of_them(server: Server) -> None:
    base = f"{V1}/anno/channels/layered"
    for number, word in ((2, "overwrite"), (1, "exception")):
        path = f"{base}/annotations/{number}/cutout?{BOX}&discipline={word}"
        assert server.post(path, "alice", data=npy(MASK)).status_code == 200
    found = from_npy(server.read(f"{base}/exceptions?{BOX}"))
    assert found.dtype == np.uint64
    assert rows(found) == {(*point, 2, 1) for point in points_of(MASK)}
    elsewhere = from_npy(server.read(f"{base}/exceptions?x=10:20"))
    assert elsewhere.shape == (0, 5)
    assert rows(from_npy(server.read(f"{base}/annotations/1/voxels"))) == points_of(MASK)


def test_a_merge_in_a_box_relabels_there_only_and_keeps_the_objects(server: Server) -> None:
    painted(server, "2/voxels", np.array([[10, 20, 5], [100, 100, 50]]))
    merged = {"ids": [1, 2], "box": {"x": [10, 11]}}
    assert server.post(f"{BASE}/merge", "alice", json=merged).status_code == 200
    assert rows(get(server, "annotations/1/voxels")) == {(10, 20, 5)}
    assert rows(get(server, "annotations/2/voxels")) == {(100, 100, 50)}
    everywhere = {"ids": [1, 2], "resolution": 0}
    assert server.post(f"{BASE}/merge", "alice", json=everywhere).status_code == 200
    assert len(get(server, "annotations/1/voxels")) == 2
    assert_problem(server.get(f"{BASE}/annotations/2/voxels"), 404, "NotFoundError")


def test_a_large_merge_is_202_until_a_worker_has_relabelled_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasing, "LARGE_SUPERCUBOIDS", 0)
    painted(server, "2/voxels", np.array([[10, 20, 5], [100, 100, 50]]))
    for _ in range(2):
        answer = server.post(f"{BASE}/merge", "alice", json={"ids": [1, 2]})
        assert (answer.status_code, answer.json) == (202, {"id": 1, "pending": [2]})
    for message in server.runtime.erase_queue.receive():
        server.runtime.erasure.run(job_id_of(message.body))
    answer = server.post(f"{BASE}/merge", "alice", json={"ids": [1, 2]})
    assert (answer.status_code, answer.json) == (200, {"id": 1})
    assert len(get(server, "annotations/1/voxels")) == 2


def test_deleting_an_object_erases_its_voxels(server: Server) -> None:
    painted(server, f"1/cutout?{BOX}", MASK)
    assert server.call("DELETE", f"{BASE}/annotations/1", "alice").status_code == 204
    assert get(server, "ids") == {"ids": []}


# --- refusals -------------------------------------------------------------------------------

POINTS = np.array([[70, 80, 66]])


@pytest.mark.parametrize(
    ("path", "array", "status", "error"),
    [
        ("9/voxels", POINTS, 404, "NotFoundError"),
        ("3/voxels", POINTS, 400, "InvalidArgumentError"),
        ("4/voxels", POINTS, 400, "InvalidArgumentError"),
        ("1/voxels", POINTS.astype(float), 400, "DataTypeMismatchError"),
        ("1/voxels", POINTS.astype(bool), 400, "DataTypeMismatchError"),
        ("1/voxels", POINTS[0], 400, "ShapeMismatchError"),
        ("1/voxels", POINTS[:, :2], 400, "ShapeMismatchError"),
        ("1/voxels", POINTS - 100, 400, "OutOfBoundsError"),
        ("1/voxels", POINTS + 2**32, 400, "OutOfBoundsError"),
        ("1/voxels", np.array([[9, 80, 66]]), 400, "OutOfBoundsError"),
        ("1/voxels?resolution=3", POINTS, 404, "ResolutionNotFoundError"),
        ("1/voxels?resolution=x", POINTS, 400, "InvalidArgumentError"),
        ("1/voxels?discipline=update", POINTS, 404, "UnknownNameError"),
        ("1/voxels?x=1:2", POINTS, 400, "InvalidArgumentError"),
        (f"9/cutout?{BOX}", MASK, 404, "NotFoundError"),
        (f"3/cutout?{BOX}", MASK, 400, "InvalidArgumentError"),
        (f"1/cutout?{BOX}", MASK.astype(float), 400, "DataTypeMismatchError"),
        (f"1/cutout?{BOX}", MASK[:2], 400, "ShapeMismatchError"),
        (f"1/cutout?{BOX}", MASK[None], 400, "ShapeMismatchError"),
        (f"1/cutout?{BOX}", np.empty((0, 4, 5), bool), 400, "ShapeMismatchError"),
        (f"1/cutout?{BOX}&t=0:1", MASK, 400, "InvalidArgumentError"),
        (f"1/cutout?{BOX}&discipline=exception", MASK, 400, "InvalidArgumentError"),
        ("1/cutout?x=0:5&y=80:84&z=66:69", MASK, 400, "OutOfBoundsError"),
    ],
)
def test_painting_that_cannot_be_meant_changes_nothing(
    shared: Server, path: str, array: Array, status: int, error: str
) -> None:
    with shared.unchanged():
        assert_problem(paint(shared, path, array), status, error)


@pytest.mark.parametrize("path", ["1/voxels", f"1/cutout?{BOX}"])
def test_bodies_that_are_no_npy_file_change_nothing(shared: Server, path: str) -> None:
    good = npy(POINTS if "voxels" in path else MASK)
    objects = npy(np.array([[object()] * 3], object)) if "voxels" in path else good[:-1]
    endless = good.replace(b"(1, 3)", b"(9" + b"9" * 18 + b", 3)").replace(b"(3, 4", b"(9, 4")
    with shared.unchanged():
        for body in (b"", b"{}", good[:40], good[:-1], good + b"\0", objects, endless):
            answer = shared.post(f"{BASE}/annotations/{path}", "alice", data=body)
            assert answer.status_code == 400, (body[:20], answer.text)


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("annotations/9/voxels", 404, "NotFoundError"),
        ("annotations/9/box?loose=1", 404, "NotFoundError"),
        ("annotations/9/cuboids", 404, "NotFoundError"),
        ("annotations/4/voxels", 400, "InvalidArgumentError"),
        ("annotations/4/box", 400, "InvalidArgumentError"),
        ("annotations/1/box?loose=yes", 400, "InvalidArgumentError"),
        ("annotations/1/box?resolution=3&loose=1", 404, "ResolutionNotFoundError"),
        ("annotations/1/voxels?resolution=3", 404, "ResolutionNotFoundError"),
        ("annotations/1/voxels?resolution=-1", 400, "InvalidArgumentError"),
        ("annotations/1/cutout?x=0:5", 400, "OutOfBoundsError"),
        ("annotations/1/cutout?x=75:70", 400, "EmptyBoxError"),
        ("annotations/1/cutout?t=0:2", 400, "InvalidArgumentError"),
        ("ids?x=0:5", 400, "OutOfBoundsError"),
        ("ids?t=0:2", 400, "InvalidArgumentError"),
        ("ids/at?x=70&y=80", 400, "InvalidArgumentError"),
        ("ids/at?x=70&y=80&z=-1", 400, "InvalidArgumentError"),
        ("ids/at?x=70&y=80&z=1:2", 400, "InvalidArgumentError"),
        ("ids/at?x=0&y=80&z=66", 400, "OutOfBoundsError"),
        ("ids/at?x=210&y=80&z=66", 400, "OutOfBoundsError"),
        ("exceptions?x=0:5", 400, "OutOfBoundsError"),
        ("exceptions?t=0:2", 400, "InvalidArgumentError"),
    ],
)
def test_questions_that_cannot_be_meant_are_refused(
    shared: Server, path: str, status: int, error: str
) -> None:
    assert_problem(shared.get(f"{BASE}/{path}"), status, error)


def test_a_mask_longer_than_its_box_is_refused_by_its_length(shared: Server) -> None:
    answer = paint(shared, f"1/cutout?{BOX}", np.ones(5 << 20, "u1"))
    assert_problem(answer, 413, "PayloadTooLargeError")


def test_what_is_read_at_once_is_limited(tmp_path) -> None:
    cells = Channel("", "cells", ChannelType.ANNOTATION, DataType.UINT32)
    with serving(tmp_path, max_cutout_voxels=1000) as server:
        server.add_volume(BRAIN, cells)
        server.post(f"{BASE}/annotations", "alice", json={"type": "segment"})
        painted(server, "1/voxels", POINTS)
        for path in ("annotations/1/cutout", "ids", "exceptions", "annotations?x=10:210"):
            assert_problem(server.get(f"{BASE}/{path}"), 413, "PayloadTooLargeError")
        assert get(server, f"annotations/1/cutout?{BOX}").sum() == 1


def test_long_answers_leave_lambda_by_way_of_the_store(tmp_path) -> None:
    cells = Channel("", "cells", ChannelType.ANNOTATION, DataType.UINT32)
    with serving(tmp_path, lambda_limits=True) as server:
        server.add_volume(Dataset("anno", (512, 256, 128)), cells)
        server.post(f"{BASE}/annotations", "alice", json={"type": "segment"})
        path = f"{BASE}/annotations/1/cutout?x=0:300&y=0:200&z=0:100"
        answer = server.get(path)
        assert answer.status_code == 303
        body = server.get(answer.headers["Location"]).data
        assert from_npy(body).shape == (100, 200, 300)
