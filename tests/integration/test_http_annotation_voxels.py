"""Voxels of RAMON objects over ndstore's routes: painted by every option, read in every form."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import bodies
from tests.support.annotation_server import (
    BIG,
    CUBOID,
    LABELS,
    OFFSET,
    PLAIN,
    annotating,
    one,
    put,
)
from tests.support.app import Server, assert_problem
from tests.support.bodies import Array
from tests.support.ramon_files import cutout, ramon_file, read_file, voxels


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    with annotating(tmp_path) as server:
        yield server


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


def fill(server: Server, path: str, number: int) -> Array:
    """Return an object to half of the block and what the block then holds."""
    half = np.zeros(MASK.shape, np.uint32)
    half[:, :4] = 1
    put(server, path, str(number), **cutout(CORNER, half))
    return half * number


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", [LABELS, BIG])
def test_voxels_are_painted_where_the_dataset_has_them(server: Server, path: str, way: str) -> None:
    """Coordinates of files have the dataset's offset in them, and any number in a block paints."""
    number = 2**40 + 5 if path == BIG else 7
    put(server, path, str(number), ANNOTATION_TYPE=4, **WAYS[way])
    stored = dense(server, path)
    assert stored.dtype == (np.uint64 if path == BIG else np.uint32)
    np.testing.assert_array_equal(stored, np.where(MASK, number, 0))
    assert points_of(server, path, number) == set(map(tuple, POINTS.tolist()))
    x, y, z = POINTS[0].tolist()
    assert server.read(f"{path}/id/0/{x}/{y}/{z}/") == str(number).encode()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("word", ["", "overwrite/"])
def test_overwrite_replaces_other_labels(server: Server, word: str, way: str) -> None:
    before = fill(server, LABELS, 3)
    assert post(server, LABELS, "7", word, **WAYS[way]) == "7"
    np.testing.assert_array_equal(dense(server, LABELS), np.where(MASK, 7, before))


@pytest.mark.parametrize("way", WAYS)
def test_preserve_paints_only_what_was_empty(server: Server, way: str) -> None:
    before = fill(server, LABELS, 3)
    assert post(server, LABELS, "7", "preserve/", **WAYS[way]) == "7"
    expected = np.where((before == 0) & (MASK != 0), 7, before)
    np.testing.assert_array_equal(dense(server, LABELS), expected)


@pytest.mark.parametrize("way", WAYS)
def test_exception_keeps_both_labels(server: Server, way: str) -> None:
    before = fill(server, LABELS, 3)
    post(server, LABELS, "7", "exception/", **WAYS[way])
    expected = np.where((before == 0) & (MASK != 0), 7, before)
    np.testing.assert_array_equal(dense(server, LABELS), expected)
    assert points_of(server, LABELS, 7) == set(map(tuple, POINTS.tolist()))
    held = one(server, f"{LABELS}/7/cutout/{REGION}")["CUTOUT"]
    np.testing.assert_array_equal(held, np.where(MASK, 7, 0))


def test_exceptions_are_refused_in_blocks_and_left_out_of_lists_where_none_are_kept(
    server: Server,
) -> None:
    before = fill(server, PLAIN, 3)
    with server.unchanged():
        body = ramon_file({"7": WAYS["cutout"]})
        answer = server.post(f"{PLAIN}/exception/", "alice", data=body)
        assert_problem(answer, 404, "InvalidArgumentError")
    post(server, PLAIN, "7", "exception/", **WAYS["voxels"])
    expected = np.where((before == 0) & (MASK != 0), 7, before)
    np.testing.assert_array_equal(dense(server, PLAIN), expected)


@pytest.mark.parametrize("words", ["update/preserve/", "preserve/update/"])
def test_update_adds_voxels_by_the_discipline_beside_it(server: Server, words: str) -> None:
    before = fill(server, LABELS, 3)
    put(server, LABELS, "7", METADATA={"AUTHOR": "first"}, **voxels([FAR]))
    values = {"METADATA": {"AUTHOR": "second"}, **WAYS["cutout"]}
    assert post(server, LABELS, "7", words, **values) == "7"
    expected = np.where((before == 0) & (MASK != 0), 7, before)
    np.testing.assert_array_equal(dense(server, LABELS), expected)
    assert tuple(FAR) in points_of(server, LABELS, 7)
    assert one(server, f"{LABELS}/7/")["METADATA"]["AUTHOR"] == "second"


def test_dataonly_paints_and_needs_no_object(server: Server) -> None:
    assert post(server, LABELS, "7", "dataonly/", METADATA={"AUTHOR": "x"}, **WAYS["cutout"]) == ""
    np.testing.assert_array_equal(dense(server, LABELS), np.where(MASK, 7, 0))
    assert_problem(server.get(f"{LABELS}/7/", "alice"), 404, "NotFoundError")
    assert put(server, LABELS) == 8  # and no object comes to label these voxels by chance


def test_dataonly_leaves_the_fields_of_an_object_alone(server: Server) -> None:
    put(server, LABELS, "7", METADATA={"AUTHOR": "first"})
    values = {"METADATA": {"AUTHOR": "second"}, **WAYS["voxels"]}
    assert post(server, LABELS, "7", "preserve/dataonly/", **values) == ""
    assert one(server, f"{LABELS}/7/")["METADATA"]["AUTHOR"] == "first"
    np.testing.assert_array_equal(dense(server, LABELS), np.where(MASK, 7, 0))


@pytest.mark.parametrize("way", WAYS)
def test_reduce_takes_the_object_and_no_other_from_its_voxels(server: Server, way: str) -> None:
    both = fill(server, LABELS, 3)
    rest = np.where(both == 0, 1, 0)
    put(server, LABELS, "7", **cutout(CORNER, rest))
    assert post(server, LABELS, "7", "reduce/", **WAYS[way]) == ""
    expected = np.where(both != 0, 3, np.where(MASK != 0, 0, 7))
    np.testing.assert_array_equal(dense(server, LABELS), expected)


def test_a_batch_paints_every_object_at_its_own_place(server: Server) -> None:
    objects = {
        "noid.0": {"ANNOTATION_TYPE": 4, **voxels([FAR])},
        "noid.1": cutout(CORNER, MASK),
        "9": voxels([[14, 24, 6]]),
        "noid.2": {"ANNOTATION_TYPE": 5},
    }
    answer = server.post(f"{LABELS}/", "alice", data=ramon_file(objects))
    chosen, first, second, neuron = map(int, answer.text.split(","))
    assert chosen == 9
    assert points_of(server, LABELS, first) == {tuple(FAR)}
    assert points_of(server, LABELS, second) == set(map(tuple, POINTS.tolist()))
    assert points_of(server, LABELS, neuron) == set()


def test_voxels_may_lie_outside_the_image_as_in_ndstore(server: Server) -> None:
    """ndstore's own test paints z=1849 in an image of 1000 slices."""
    outside = [[15, 25, 1849], [2**21 + 9, 20, 5]]
    put(server, LABELS, "7", **voxels(outside))
    assert points_of(server, LABELS, 7) == set(map(tuple, outside))


def test_voxels_at_another_resolution_have_its_offset(server: Server) -> None:
    put(server, LABELS, "7", **voxels([[5, 10, 5], [6, 10, 5]], resolution=1))
    group = one(server, f"{LABELS}/7/boundingbox/1/")
    assert group["XYZOFFSET"].tolist() == [5, 10, 5]
    assert group["XYZDIMENSION"].tolist() == [2, 1, 1]


def test_a_body_that_needs_more_memory_than_most_is_read_with_more(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail (413) when what is held at first was all that a body could have."""
    monkeypatch.setattr("ndlambda.web.annotation.ramon_body._AT_FIRST_BYTES", MASK.nbytes - 1)
    put(server, LABELS, "7", **WAYS["cutout"])
    np.testing.assert_array_equal(dense(server, LABELS), np.where(MASK, 7, 0))


def test_memory_that_an_upload_or_answer_took_is_given_back(server: Server) -> None:
    """Seen to fail when what an answer held was kept beyond the end of its response."""
    put(server, LABELS, "7", **WAYS["cutout"])
    body = ramon_file({"8": {**WAYS["cutout"], "ANNOTATION_TYPE": 3}})
    assert server.post(f"{LABELS}/", "alice", data=body).status_code == 404
    for path in ("7/voxels/0/", "7/cutout/0/", "7,99/cutout/0/"):
        server.get(f"{LABELS}/{path}", "alice", buffered=True).close()
    everything = server.settings.max_memory_bytes
    with server.runtime.volume.budget.hold(everything):
        pass


# --- reading --------------------------------------------------------------------------------


def test_a_list_of_voxels_names_its_resolution(server: Server) -> None:
    put(server, LABELS, "7", **voxels([FAR, FAR]))
    group = one(server, f"{LABELS}/7/voxels/0/")
    assert group["RESOLUTION"].tolist() == [0]
    assert group["VOXELS"].tolist() == [FAR]
    assert group["VOXELS"].dtype == np.uint32


def test_a_tight_cutout_is_of_whole_cuboids(server: Server) -> None:
    put(server, LABELS, "7", **WAYS["cutout"])
    group = one(server, f"{LABELS}/7/cutout/0/")
    assert group["XYZOFFSET"].tolist() == list(OFFSET)
    block = group["CUTOUT"]
    assert block.shape == tuple(2 * edge for edge in CUBOID[::-1])
    x, y, z = (at - off for at, off in zip(CORNER, OFFSET, strict=True))
    np.testing.assert_array_equal(block[z : z + 6, y : y + 8, x : x + 10], np.where(MASK, 7, 0))
    assert np.count_nonzero(block) == len(POINTS)


def test_a_region_cutout_has_the_corner_and_size_asked_for_and_no_other_label(
    server: Server,
) -> None:
    fill(server, LABELS, 3)
    put(server, LABELS, "7", **voxels([[136, 150, 20]]))
    group = one(server, f"{LABELS}/7/cutout/0/134,140/148,152/19,22/")
    assert group["XYZOFFSET"].tolist() == [134, 148, 19]
    assert group["CUTOUT"].shape == (3, 4, 6)
    assert np.argwhere(group["CUTOUT"]).tolist() == [[1, 2, 2]]
    assert group["CUTOUT"].max() == 7


def test_a_bounding_box_is_exact_and_absolute(server: Server) -> None:
    put(server, LABELS, "7", **WAYS["voxels"])
    group = one(server, f"{LABELS}/7/boundingbox/0/")
    assert group["XYZOFFSET"].tolist() == POINTS.min(axis=0).tolist()
    size = POINTS.max(axis=0) - POINTS.min(axis=0) + 1
    assert group["XYZDIMENSION"].tolist() == size.tolist()
    assert group["RESOLUTION"].tolist() == [0]


def test_cuboids_are_those_that_hold_the_object_with_corners_from_zero(server: Server) -> None:
    put(server, LABELS, "7", **voxels([[15, 25, 6], [150, 25, 6]]))
    put(server, LABELS, "8", **voxels([[16, 25, 6]]))
    parts = one(server, f"{LABELS}/7/cuboids/0/")["CUBOIDS"]
    corners = {tuple(part["XYZOFFSET"].tolist()): part["CUBOID"] for part in parts.values()}
    assert set(corners) == {(0, 0, 0), (128, 0, 0)}
    for corner, block in corners.items():
        assert block.shape == (1, *CUBOID[::-1])
        assert np.unique(block).tolist() == [0, 7]
        (where,) = np.argwhere(block)[:, ::-1][:, :3].tolist()
        x, y, z = (at + base + off for at, base, off in zip(where, corner, OFFSET, strict=True))
        assert (x, y, z) in {(15, 25, 6), (150, 25, 6)}


def test_labels_of_64_bits_are_given_as_they_are(server: Server) -> None:
    number = 2**63 + 1
    put(server, BIG, str(number), **WAYS["cutout"])
    block = one(server, f"{BIG}/{number}/cutout/{REGION}")["CUTOUT"]
    assert block.dtype == np.uint64
    np.testing.assert_array_equal(block, np.where(MASK, np.uint64(number), np.uint64(0)))


@pytest.mark.parametrize(
    "option", ["voxels/0", "cutout/0", f"cutout/{REGION}", "boundingbox/0", "cuboids/0"]
)
def test_an_object_without_voxels_is_given_without(server: Server, option: str) -> None:
    put(server, LABELS, "7", METADATA={"AUTHOR": "me"})
    group = one(server, f"{LABELS}/7/{option}")
    assert group["METADATA"]["AUTHOR"] == "me"
    assert not group.get("CUTOUT", np.zeros(1)).any()
    assert not {"VOXELS", "CUBOIDS", "XYZDIMENSION"} & set(group)


def test_several_objects_are_read_with_their_voxels(server: Server) -> None:
    put(server, LABELS, "7", **voxels([FAR]))
    put(server, LABELS, "8", **WAYS["voxels"])
    found = read_file(server.read(f"{LABELS}/8,7/voxels/0/"))
    assert found["7"]["VOXELS"].tolist() == [FAR]
    assert len(found["8"]["VOXELS"]) == len(POINTS)


def test_the_voxels_of_a_neuron_are_those_of_its_segments(server: Server) -> None:
    put(server, LABELS, "5", ANNOTATION_TYPE=5)
    put(server, LABELS, "6", ANNOTATION_TYPE=4, METADATA={"NEURON": 5}, **voxels([FAR]))
    put(server, LABELS, "7", ANNOTATION_TYPE=4, METADATA={"NEURON": 5}, **WAYS["voxels"])
    assert points_of(server, LABELS, 5) == {tuple(FAR), *map(tuple, POINTS.tolist())}
    block = one(server, f"{LABELS}/5/cutout/{REGION}")["CUTOUT"]
    np.testing.assert_array_equal(block, np.where(MASK, 5, 0))


@pytest.mark.parametrize(
    "option", ["voxels/0", "cutout/0", f"cutout/{REGION}", "boundingbox/0", "cuboids/0"]
)
def test_a_seed_has_no_voxels_to_read(server: Server, option: str) -> None:
    put(server, LABELS, "7", ANNOTATION_TYPE=3)
    assert_problem(server.get(f"{LABELS}/7/{option}", "alice"), 404, "InvalidArgumentError")


def test_an_object_is_shown_at_resolutions_where_it_was_not_painted(server: Server) -> None:
    put(server, LABELS, "7", **voxels([[x, y, 6] for x in (20, 21) for y in (30, 31)]))
    assert one(server, f"{LABELS}/7/voxels/1/")["VOXELS"].tolist() == [[10, 15, 6]]


def test_a_cutout_with_a_time_is_of_that_time(server: Server) -> None:
    """Objects are painted at the first time point; dense uploads reach the others."""
    put(server, LABELS, "7", **voxels([[136, 150, 20]]))
    later = np.full((1, 1, *MASK.shape), 7, np.uint32)
    server.write(f"{LABELS}/npz/{REGION}1,2/", bodies.npz(later))
    block = one(server, f"{LABELS}/7/cutout/{REGION}1,2/")["CUTOUT"]
    assert (block == 7).all()
    assert np.count_nonzero(one(server, f"{LABELS}/7/cutout/{REGION}0,1")["CUTOUT"]) == 1
    assert_problem(
        server.get(f"{LABELS}/7/cutout/{REGION}0,2/", "alice"), 404, "InvalidArgumentError"
    )


def test_files_are_answered_as_hdf5_and_large_ones_by_redirect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with annotating(tmp_path, lambda_limits=True) as server:
        put(server, LABELS, "7", **WAYS["voxels"])
        answer = server.get(f"{LABELS}/7/voxels/0/", "alice")
        assert (answer.status_code, answer.content_type) == (200, "product/hdf5")
        monkeypatch.setattr(
            "ndlambda.web.response.delivery.LAMBDA_BODY_BYTES", len(answer.data) - 1
        )
        answer = server.get(f"{LABELS}/7/voxels/0/", "alice")
        assert answer.status_code == 303
        assert len(read_file(server.read(answer.headers["Location"]))["7"]["VOXELS"]) == len(POINTS)
