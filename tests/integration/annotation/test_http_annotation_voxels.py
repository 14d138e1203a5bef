"""Voxels of RAMON objects over ndstore's routes: option words, batches, times and long answers."""

from typing import Any

import numpy as np
import pytest

from ndlambda.web.annotation import ramon_body
from ndlambda.web.response import delivery
from tests.support import bodies
from tests.support.annotation_server import LABELS, annotating, one, put
from tests.support.app import Server, assert_problem, server_fixture
from tests.support.bodies import Array
from tests.support.ramon_files import cutout, ramon_file, read_file, voxels

server = server_fixture(annotating)


CORNER = (135, 145, 19)
"""Absolute; the block below lies across eight cuboids."""
MASK = np.random.default_rng(3).integers(0, 3, (6, 8, 10), np.uint32)
REGION = "0/135,145/145,153/19,25/"
POINTS = np.argwhere(MASK)[:, ::-1].astype(np.uint32) + np.array(CORNER, np.uint32)
FAR = [12, 22, 6]
WAYS: dict[str, dict[str, Any]] = {"cutout": cutout(CORNER, MASK), "voxels": voxels(POINTS)}


def post(server: Server, path: str, name: str, words: str, **values: Any) -> str:
    body = ramon_file({name: values})
    answer = server.post(f"{path}/{words}", "alice", data=body)
    assert answer.status_code == 200, answer.text
    return answer.text


def dense(server: Server, path: str) -> Array:
    """Return the labels at the block (z, y, x), as a plain cutout shows them."""
    return bodies.from_npz(server.read(f"{path}/npz/{REGION}"))[0]


def points_of(server: Server, path: str, number: int) -> set[tuple[int, ...]]:
    group = one(server, f"{path}/{number}/voxels/0/")
    return set(map(tuple, group.get("VOXELS", np.empty((0, 3))).tolist()))


@pytest.mark.parametrize("words", ["update/preserve/", "preserve/update/"])
def test_update_adds_voxels_by_the_discipline_beside_it(server, words, labels):
    before = np.zeros(MASK.shape, np.uint32)
    before[:, :4] = 3
    put(server, labels, "3", **cutout(CORNER, before))
    put(server, labels, "7", METADATA={"AUTHOR": "first"}, **voxels([FAR]))
    values = {"METADATA": {"AUTHOR": "second"}, **WAYS["cutout"]}
    assert post(server, labels, "7", words, **values) == "7"
    expected = np.where((before == 0) & (MASK != 0), 7, before)
    np.testing.assert_array_equal(dense(server, labels), expected)
    assert tuple(FAR) in points_of(server, labels, 7)
    assert one(server, f"{labels}/7/")["METADATA"]["AUTHOR"] == "second"


def test_dataonly_paints_and_needs_no_object(server, labels):
    assert post(server, labels, "7", "dataonly/", METADATA={"AUTHOR": "x"}, **WAYS["cutout"]) == ""
    np.testing.assert_array_equal(dense(server, labels), np.where(MASK, 7, 0))
    assert_problem(server.get(f"{labels}/7/", "alice"), 404, "NotFoundError")
    assert put(server, labels) == 8  # and no object comes to label these voxels by chance


def test_dataonly_leaves_the_fields_of_an_object_alone(server, labels):
    put(server, labels, "7", METADATA={"AUTHOR": "first"})
    values = {"METADATA": {"AUTHOR": "second"}, **WAYS["voxels"]}
    assert post(server, labels, "7", "preserve/dataonly/", **values) == ""
    assert one(server, f"{labels}/7/")["METADATA"]["AUTHOR"] == "first"
    np.testing.assert_array_equal(dense(server, labels), np.where(MASK, 7, 0))


def test_a_batch_paints_every_object_at_its_own_place(server, labels):
    objects = {
        "noid.0": {"ANNOTATION_TYPE": 4, **voxels([FAR])},
        "noid.1": cutout(CORNER, MASK),
        "9": voxels([[14, 24, 6]]),
        "noid.2": {"ANNOTATION_TYPE": 5},
    }
    answer = server.post(f"{labels}/", "alice", data=ramon_file(objects))
    chosen, first, second, neuron = map(int, answer.text.split(","))
    assert chosen == 9
    assert points_of(server, labels, first) == {tuple(FAR)}
    assert points_of(server, labels, second) == set(map(tuple, POINTS.tolist()))
    assert points_of(server, labels, neuron) == set()


def test_a_body_that_needs_more_memory_than_most_is_read_with_more(server, monkeypatch, labels):
    """Seen to fail (413) when what is held at first was all that a body could have."""
    monkeypatch.setattr(ramon_body, "_INITIAL_BYTES", MASK.nbytes - 1)
    put(server, labels, "7", **WAYS["cutout"])
    np.testing.assert_array_equal(dense(server, labels), np.where(MASK, 7, 0))


def test_memory_that_an_upload_or_answer_took_is_given_back(server, labels):
    """Seen to fail when what an answer held was kept beyond the end of its response."""
    put(server, labels, "7", **WAYS["cutout"])
    body = ramon_file({"8": {**WAYS["cutout"], "ANNOTATION_TYPE": 3}})
    assert server.post(f"{labels}/", "alice", data=body).status_code == 404
    for path in ("7/voxels/0/", "7/cutout/0/", "7,99/cutout/0/"):
        server.get(f"{labels}/{path}", "alice", buffered=True).close()
    everything = server.settings.max_memory_bytes
    with server.runtime.volume.budget.hold(everything):
        pass


def test_a_cutout_with_a_time_is_of_that_time(server, labels):
    """Objects are painted at the first time point; dense uploads reach the others."""
    put(server, labels, "7", **voxels([[136, 150, 20]]))
    later = np.full((1, 1, *MASK.shape), 7, np.uint32)
    server.write(f"{labels}/npz/{REGION}1,2/", bodies.npz(later))
    block = one(server, f"{labels}/7/cutout/{REGION}1,2/")["CUTOUT"]
    assert (block == 7).all()
    assert np.count_nonzero(one(server, f"{labels}/7/cutout/{REGION}0,1")["CUTOUT"]) == 1
    assert_problem(
        server.get(f"{labels}/7/cutout/{REGION}0,2/", "alice"), 404, "InvalidArgumentError"
    )


def test_files_are_answered_as_hdf5_and_large_ones_by_redirect(tmp_path, monkeypatch):
    with annotating(tmp_path, lambda_limits=True) as server:
        put(server, LABELS, "7", **WAYS["voxels"])
        answer = server.get(f"{LABELS}/7/voxels/0/", "alice")
        assert (answer.status_code, answer.content_type) == (200, "product/hdf5")
        monkeypatch.setattr(delivery, "LAMBDA_BODY_BYTES", len(answer.data) - 1)
        answer = server.get(f"{LABELS}/7/voxels/0/", "alice")
        assert answer.status_code == 303
        assert len(read_file(server.read(answer.headers["Location"]))["7"]["VOXELS"]) == len(POINTS)
