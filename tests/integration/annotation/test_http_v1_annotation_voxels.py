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
from ndlambda.space.pyramid import Scaling
from tests.support.app import V1, Server, assert_problem, server_fixture, serving
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


server = server_fixture(labelled, scope="function")


shared = server_fixture(labelled)


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


def test_arrays_are_npy_files_that_say_their_shape_and_place(server):
    assert painted(server, f"1/cutout?{BOX}", np.asfortranarray(MASK)) == MASK.sum()
    answer = server.get(f"{BASE}/annotations/1/voxels")
    assert answer.content_type == "application/x-npy"
    assert answer.headers["X-NDLambda-Shape"] == f"{MASK.sum()},3"
    answer = server.get(f"{BASE}/annotations/1/cutout?{BOX}")
    assert from_npy(answer.data).dtype == np.bool_
    np.testing.assert_array_equal(from_npy(answer.data), MASK)
    assert answer.headers["X-NDLambda-Corner"] == "70,80,66"
    assert "X-NDLambda-Corner" in answer.headers["Access-Control-Expose-Headers"]
    assert from_npy(server.read(f"{BASE}/exceptions")).shape == (0, 5)


def test_the_tight_box_is_exact_and_the_loose_one_of_cuboids(server):
    painted(server, "1/voxels", np.array([[75, 90, 8], [80, 86, 69]]))
    tight = get(server, "annotations/1/box")
    assert tight == {"resolution": 0, "corner": [75, 86, 8], "size": [6, 5, 62]}
    loose = get(server, "annotations/1/box?loose=1")
    assert loose == {"resolution": 0, "corner": [74, 84, 5], "size": [64, 64, 128]}
    assert get(server, "annotations/3/box") == tight
    assert get(server, "annotations/3/box?loose=1") == loose
    server.call("DELETE", f"{BASE}/annotations/1", "alice")
    nothing = get(server, "annotations/2/box?loose=1")
    assert (nothing["corner"], nothing["size"]) == (None, [0, 0, 0])
    assert painted(server, "2/voxels", np.empty((0, 3), int)) == 0


def test_cuboids_that_hold_an_object_are_listed_with_their_corners(server):
    painted(server, "1/voxels", np.array([[10, 20, 5], [80, 86, 69]]))
    painted(server, "2/voxels", np.array([[10, 20, 69]]))
    found = get(server, "annotations/1/cuboids")
    assert (found["mortons"], found["corners"]) == ([0, 7], [[10, 20, 5], [74, 84, 69]])
    assert get(server, "annotations/3/cuboids")["mortons"] == [0, 4, 7]
    for query, ids in (("", [1, 2]), ("?x=10:11", [1, 2]), ("?x=11:20", [])):
        assert get(server, f"ids{query}") == {"ids": ids}


def test_a_large_merge_is_202_until_a_worker_has_relabelled_it(server, monkeypatch):
    monkeypatch.setattr(erasing, "LARGE_SUPERCUBOIDS", 0)
    painted(server, "2/voxels", np.array([[10, 20, 5], [100, 100, 50]]))
    for _ in range(2):
        answer = server.post(f"{BASE}/merge", "alice", json={"ids": [1, 2]})
        assert (answer.status_code, answer.json) == (202, {"id": 1, "pending": [2]})
    for message in server.runtime.resources.queues.erase.receive():
        server.runtime.deletion.handle(message.body)
    answer = server.post(f"{BASE}/merge", "alice", json={"ids": [1, 2]})
    assert (answer.status_code, answer.json) == (200, {"id": 1})
    assert len(get(server, "annotations/1/voxels")) == 2


def test_long_answers_leave_lambda_by_way_of_the_store(tmp_path):
    cells = Channel("", "cells", ChannelType.ANNOTATION, DataType.UINT32)
    with serving(tmp_path, lambda_limits=True) as server:
        server.add_volume(Dataset("anno", (512, 256, 128)), cells)
        server.post(f"{BASE}/annotations", "alice", json={"type": "segment"})
        path = f"{BASE}/annotations/1/cutout?x=0:300&y=0:200&z=0:100"
        answer = server.get(path)
        assert answer.status_code == 303
        body = server.get(answer.headers["Location"]).data
        assert from_npy(body).shape == (100, 200, 300)


POINTS = np.array([[70, 80, 66]])
BAD_PAINTINGS: dict[str, tuple[tuple[str, Array], ...]] = {
    "NotFoundError": (("9/voxels", POINTS), (f"9/cutout?{BOX}", MASK)),
    "DataTypeMismatchError": (("1/voxels", POINTS.astype(bool)),),
    "ShapeMismatchError": (
        ("1/voxels", POINTS[0]), (f"1/cutout?{BOX}", MASK[:2]), (f"1/cutout?{BOX}", MASK[None]),
        (f"1/cutout?{BOX}", np.empty((0, 4, 5), bool)),
    ),
    "OutOfBoundsError": (
        ("1/voxels", POINTS - 100), ("1/voxels", POINTS + 2**32),
        ("1/cutout?x=0:5&y=80:84&z=66:69", MASK),
    ),
    "InvalidArgumentError": (
        ("1/voxels?resolution=x", POINTS), ("1/voxels?x=1:2", POINTS),
        (f"1/cutout?{BOX}&t=0:1", MASK), (f"1/cutout?{BOX}&discipline=exception", MASK),
    ),
    "UnknownNameError": (("1/voxels?discipline=update", POINTS),),
    "PayloadTooLargeError": ((f"1/cutout?{BOX}", np.ones(5 << 20, "u1")),),  # by its length
}  # fmt: skip
BAD_QUESTIONS: dict[str, tuple[str, ...]] = {
    "NotFoundError": ("annotations/9/voxels", "annotations/9/box?loose=1"),
    "ResolutionNotFoundError": ("annotations/1/box?resolution=3&loose=1",),
    "OutOfBoundsError": ("annotations/1/cutout?x=0:5",),
    "EmptyBoxError": ("annotations/1/cutout?x=75:70",),
    "InvalidArgumentError": (
        "annotations/1/box?loose=yes", "annotations/1/voxels?resolution=-1",
        "annotations/1/cutout?t=0:2", "ids?t=0:2", "ids/at?x=70&y=80", "ids/at?x=70&y=80&z=-1",
        "ids/at?x=70&y=80&z=1:2", "exceptions?t=0:2",
    ),
}  # fmt: skip
STATUS = {
    "NotFoundError": 404, "ResolutionNotFoundError": 404, "UnknownNameError": 404,
    "PayloadTooLargeError": 413,
}  # fmt: skip
"""Of errors that are not 400."""


@pytest.mark.parametrize("error", BAD_PAINTINGS)
def test_painting_that_cannot_be_meant_changes_nothing(shared, error):
    for path, array in BAD_PAINTINGS[error]:
        with shared.unchanged():
            assert_problem(paint(shared, path, array), STATUS.get(error, 400), error)


@pytest.mark.parametrize("error", BAD_QUESTIONS)
def test_questions_that_cannot_be_meant_are_refused(shared, error):
    for path in BAD_QUESTIONS[error]:
        assert_problem(shared.get(f"{BASE}/{path}"), STATUS.get(error, 400), error)


@pytest.mark.parametrize("path", ["1/voxels", f"1/cutout?{BOX}"])
def test_bodies_that_are_no_npy_file_change_nothing(shared, path):
    good = npy(POINTS if "voxels" in path else MASK)
    objects = npy(np.array([[object()] * 3], object)) if "voxels" in path else good[:-1]
    endless = good.replace(b"(1, 3)", b"(9" + b"9" * 18 + b", 3)").replace(b"(3, 4", b"(9, 4")
    with shared.unchanged():
        for body in (b"", b"{}", good[:40], good[:-1], good + b"\0", objects, endless):
            answer = shared.post(f"{BASE}/annotations/{path}", "alice", data=body)
            assert answer.status_code == 400, (body[:20], answer.text)
