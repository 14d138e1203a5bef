"""The client's annotations, and the command over them, against the real application."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ndlambda import client as nd
from ndlambda import errors
from ndlambda.cli import main
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Scaling
from tests.support.app import Server, serving
from tests.support.fake_server import URL, WsgiTransport

BRAIN = Dataset(
    "anno", (300, 200, 150), offset_xyz=(10, 20, 5), scaling=Scaling.ISOTROPIC, scalinglevels=2
)
BLOB = np.random.default_rng(3).random((4, 5, 6)) < 0.4
BLOB_BOX = Box.at((100, 60, 40), (6, 5, 4))


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    cells = Channel("", "cells", ChannelType.ANNOTATION, DataType.UINT64)
    layered = Channel("", "layered", ChannelType.ANNOTATION, DataType.UINT32, exceptions=True)
    with serving(tmp_path / "nd") as server:
        server.add_volume(BRAIN, cells, layered)
        yield server


@pytest.fixture
def client(server: Server) -> nd.Client:
    return nd.connect(URL, server.keys["alice"], transport=WsgiTransport(server.app))


@pytest.fixture
def cells(client: nd.Client) -> nd.Annotations:
    return client.annotations("anno", "cells")


def rows(points: Any) -> set[tuple[int, ...]]:
    return {tuple(row) for row in points.tolist()}


# --- objects --------------------------------------------------------------------------------


def test_objects_are_made_read_changed_and_deleted(cells: nd.Annotations) -> None:
    number = cells.create(type="synapse", weight=0.5, segments=[7, 9], pairs={"seen": "yes"})
    document = cells.get(number)
    assert (document["id"], document["type"], document["segments"]) == (number, "synapse", [7, 9])
    changed = cells.update(number, status=2, weight=None, pairs={"seen": None, "by": "eve"})
    assert (changed["status"], changed["weight"], changed["pairs"]) == (2, 0.0, {"by": "eve"})
    replaced = cells.replace({"id": number, "type": "segment", "neuron": 4})
    assert (replaced["type"], replaced["pairs"]) == ("segment", {})
    assert cells.delete(number)
    assert cells.delete(number)
    with pytest.raises(errors.NotFoundError):
        cells.get(number)
    assert cells.get(cells.create())["type"] == "annotation"


def test_an_update_that_insists_on_a_version_loses_to_one_that_was_faster(
    cells: nd.Annotations,
) -> None:
    document = cells.get(cells.create(type="segment"))
    number, version = document["id"], document["version"]
    faster = cells.update(number, if_version=version, status=1)
    for late in (
        lambda: cells.update(number, if_version=version, status=2),
        lambda: cells.replace(document, if_version=version),
    ):
        with pytest.raises(errors.PreconditionFailedError):
            late()
    assert cells.replace({**faster, "status": 3}, if_version=faster["version"])["status"] == 3


def test_refusals_arrive_as_errors_that_say_which_field(cells: nd.Annotations) -> None:
    with pytest.raises(errors.ValidationError, match="weight") as raised:
        cells.create_many([{"type": "segment"}, {"type": "synapse", "weight": "x"}])
    assert raised.value.details["errors"][0]["field"] == "1.weight"
    number = cells.create(type="segment", id=2**63 + 1)
    assert number == 2**63 + 1
    with pytest.raises(errors.AlreadyExistsError):
        cells.create(type="segment", id=number)


def test_objects_are_found_by_everything_that_is_asked(cells: nd.Annotations) -> None:
    first, second, segment = cells.create_many(
        [
            {"type": "synapse", "confidence": 0.9, "segments": [7], "pairs": {"a b": "1&2"}},
            {"type": "synapse", "confidence": 0.2, "segments": [7, 8], "author": "bea"},
            {"type": "segment", "neuron": 3},
        ]
    )
    assert cells.query() == [first, second, segment]
    assert cells.query(limit=1) == [first]
    assert cells.query(type="synapse", confidence_gt=0.5) == [first]
    assert cells.query(type="synapse", confidence_lt=0.5, author="bea") == [second]
    assert cells.query(fields={"segments": 8}) == [second]
    assert cells.query(fields={"neuron": 3}, status=0) == [segment]
    assert cells.query(pairs={"a b": "1&2"}) == [first]
    cells.paint(segment, BLOB_BOX.start_xyz, BLOB)
    assert cells.query(box=BLOB_BOX) == [segment]
    assert cells.query(box=Box.at((50, 30, 20), (3, 3, 2)), resolution=1) == [segment]
    assert cells.query(type="synapse", box=BLOB_BOX) == []
    assert cells.top_keys() == [("a b", 1)]
    assert cells.top_keys(5, of_type="segment") == []


def test_ids_are_reserved_and_objects_merged(cells: nd.Annotations) -> None:
    reserved = cells.reserve(3)
    assert reserved == range(1, 4)
    cells.create_many([{"type": "segment", "id": number} for number in reserved])
    cells.paint(2, BLOB_BOX.start_xyz, BLOB)
    half = Box.at(BLOB_BOX.start_xyz, (3, 5, 4))
    assert cells.merge([1, 2], box=half) == 1
    assert (cells.cutout(1, BLOB_BOX).array[:, :, 3:] == 0).all()
    assert cells.merge([1, 2, 3], resolution=0) == 1
    np.testing.assert_array_equal(cells.cutout(1, BLOB_BOX).array, BLOB)
    assert cells.query() == [1]
    with pytest.raises(errors.NotFoundError):
        cells.merge([1, 99])


# --- voxels ---------------------------------------------------------------------------------


def test_what_is_painted_is_read_back_in_every_form(cells: nd.Annotations) -> None:
    number = cells.create(type="segment")
    assert cells.box(number) is None
    assert cells.cutout(number).corner_xyz is None
    assert cells.voxels(number).shape == (0, 3)
    cells.paint(number, BLOB_BOX.start_xyz, BLOB.astype(int) * 9)
    mask = cells.cutout(number, BLOB_BOX)
    np.testing.assert_array_equal(mask.array, BLOB)
    assert mask.corner_xyz == BLOB_BOX.start_xyz
    points = cells.voxels(number)
    assert points.dtype == np.uint32
    assert rows(points) == rows(np.argwhere(BLOB)[:, ::-1] + BLOB_BOX.start_xyz)
    tight, loose = cells.box(number), cells.box(number, loose=True)
    assert tight is not None
    assert loose is not None
    assert (tight.start_xyz, tight.stop_xyz) == (
        tuple(points.min(axis=0)),
        tuple(points.max(axis=0) + 1),
    )
    assert tight.within(loose)
    assert cells.cuboids(number) == [loose]
    whole = cells.cutout(number)
    assert whole.corner_xyz == loose.start_xyz
    assert whole.array.sum() == BLOB.sum()
    x, y, z = points[0].tolist()
    assert cells.id_at((x, y, z)) == number
    assert cells.ids(BLOB_BOX).tolist() == [number]
    assert cells.ids().dtype == np.uint64
    assert cells.ids(Box.at((10, 20, 5), (5, 5, 5))).tolist() == []


def test_points_are_painted_and_taken_away(cells: nd.Annotations) -> None:
    number, other = cells.create(type="segment"), cells.create(type="segment")
    points = [[10, 20, 5], [309, 219, 154]]
    cells.paint_voxels(number, points)
    cells.paint_voxels(other, [[10, 20, 5], [11, 20, 5]], discipline="preserve")
    assert rows(cells.voxels(number)) == {(10, 20, 5), (309, 219, 154)}
    assert rows(cells.voxels(other)) == {(11, 20, 5)}
    cells.paint_voxels(number, points[:1], discipline="reduce")
    assert rows(cells.voxels(number)) == {(309, 219, 154)}


def test_a_large_mask_goes_in_blocks_that_have_voxels(
    server: Server, cells: nd.Annotations
) -> None:
    number = cells.create(type="segment")
    mask = np.zeros((140, 190, 290), np.bool_)
    mask[0, 0, 0] = mask[139, 189, 289] = mask[70, 100, 127:130] = True
    cells.paint(number, (12, 22, 6), mask)
    assert rows(cells.voxels(number)) == rows(np.argwhere(mask)[:, ::-1] + (12, 22, 6))


def test_voxels_with_several_labels_come_with_all_of_them(client: nd.Client) -> None:
    layered = client.annotations("anno", "layered")
    layered.create_many([{"type": "segment"}] * 2)
    layered.paint(1, BLOB_BOX.start_xyz, BLOB)
    layered.paint_voxels(2, [BLOB_BOX.start_xyz], discipline="overwrite")
    layered.paint(1, BLOB_BOX.start_xyz, np.ones_like(BLOB), discipline="exception")
    found = layered.exceptions(BLOB_BOX)
    assert found.voxels_xyz.tolist() == [list(BLOB_BOX.start_xyz)]
    assert found.labels.tolist() == [[2, 1]]
    assert len(layered.exceptions().labels) == 1


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.ones((4, 2), int), errors.ShapeMismatchError),
        (np.ones((4, 3)), errors.DataTypeMismatchError),
        (np.full((1, 3), -1), errors.OutOfBoundsError),
    ],
)
def test_lists_that_are_none_are_refused(cells: nd.Annotations, array: Any, error: Any) -> None:
    number = cells.create(type="segment")
    with pytest.raises(error):
        cells.paint_voxels(number, array)
    with pytest.raises(errors.ShapeMismatchError):
        cells.paint(number, (10, 20, 5), np.ones((3, 3)))
    with pytest.raises(errors.OutOfBoundsError):
        cells.paint(number, (300, 20, 5), np.ones((3, 3, 30)))


def test_a_channel_of_images_has_no_objects(client: nd.Client) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="not an annotation channel"):
        client.annotations("open", "em").query()
    with pytest.raises(errors.ChannelNotFoundError):
        client.annotations("anno", "nowhere").query()


# --- the command ----------------------------------------------------------------------------


@pytest.fixture
def run(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def run_line(line: str, *, code: int = 0, typed: str = "") -> str:
        environment = {"NDLAMBDA_URL": URL, "NDLAMBDA_KEY": server.keys["alice"]}
        done = CliRunner().invoke(
            main,
            ["annotation", *shlex.split(line)],
            obj=WsgiTransport(server.app),
            input=typed,
            env={**environment, "NDLAMBDA_DATA": ""},
        )
        assert done.exit_code == code, (done.output, done.exception)
        assert code != 2 or done.stderr
        out: str = done.stdout
        return out

    return run_line


def test_objects_are_made_listed_shown_and_changed(run: Any) -> None:
    pair = "--pair 'a b=1=2'"
    fields = "--field weight=0.5 --field segments=7,9 --field centroid=1,2,3 --field author=7"
    assert run(f"create anno/cells --type synapse {fields} {pair}") == "1\n"
    assert run("create anno/cells --type node --id 12 --field parent=-1") == "12\n"
    assert run("list anno/cells") == "1\n12\n"
    assert json.loads(run("list anno/cells --type synapse --field segments=7 --json")) == [1]
    assert run(f"list anno/cells {pair} --author 7 --status 0 --confidence-below 0.1") == "1\n"
    assert run("list anno/cells --confidence-above 0.1") == ""
    assert run("list anno/cells --limit 1") == "1\n"
    document = json.loads(run("show anno/cells 1 --json"))
    assert (document["segments"], document["centroid"]) == ([7, 9], [1, 2, 3])
    assert (document["author"], document["pairs"]) == ("7", {"a b": "1=2"})
    table = run("show anno/cells 1")
    assert "pair a b" in table
    assert "7,9" in table
    told = run("set anno/cells 1 --field status=2 --unset weight --unpair 'a b' --pair by=eve")
    changed = json.loads(run("show anno/cells 1 --json"))
    assert (changed["status"], changed["weight"]) == (2, 0.0)
    assert changed["pairs"] == {"by": "eve"}
    assert told == f"object 1 has version {changed['version']}\n"
    run(f"set anno/cells 1 --field status=3 --if-version {document['version']}", code=5)


def test_voxels_boxes_and_labels_are_printed_and_saved(
    run: Any, cells: nd.Annotations, tmp_path: Path
) -> None:
    number = cells.create(type="segment")
    assert run(f"box anno/cells {number}") == ""
    assert json.loads(run(f"box anno/cells {number} --json")) is None
    cells.paint_voxels(number, [[10, 20, 5], [12, 25, 7]])
    assert run(f"box anno/cells {number}") == "10:13,20:26,5:8\n"
    found = json.loads(run(f"box anno/cells {number} --loose --json"))
    assert found == {"start": [10, 20, 5], "stop": [74, 84, 69]}
    assert run("ids anno/cells") == f"{number}\n"
    assert json.loads(run("ids anno/cells --box 11:12,20:26,5:8 --json")) == []
    assert run("list anno/cells --box 10:13,20:26,5:8") == f"{number}\n"
    assert "2 voxels" in run(f"voxels anno/cells {number} -o cell.csv")
    lines = (tmp_path / "cell.csv").read_text().splitlines()
    assert lines[0] == "x,y,z"
    assert set(lines[1:]) == {"10,20,5", "12,25,7"}
    run(f"voxels anno/cells {number} -o cell.npy")
    assert rows(np.load(tmp_path / "cell.npy")) == {(10, 20, 5), (12, 25, 7)}


def test_objects_are_merged_reserved_and_deleted(run: Any, cells: nd.Annotations) -> None:
    assert run("reserve anno/cells 3") == "1 3\n"
    assert json.loads(run("reserve anno/cells 2 --json")) == {"first": 4, "count": 2}
    cells.create_many([{"type": "segment", "id": number} for number in (1, 2, 3)])
    assert run("merge anno/cells 1 2") == "merged into 1\n"
    assert run("merge anno/cells 1 3 --box 10:20,20:30,5:10") == "merged into 1\n"
    run("delete anno/cells 1 3", code=1, typed="n\n")
    assert cells.query() == [1, 3]
    assert "object 3 is deleted" in run("delete anno/cells 1 3 --yes")
    assert cells.query() == []


LINES = [
    ("list anno", 2),
    ("list anno/cells --type cell", 2),
    ("list anno/cells --field colour=red", 2),
    ("list anno/cells --field segments", 2),
    ("list anno/cells --box 1:2", 2),
    ("list anno/nowhere", 3),
    ("list nowhere/cells", 4),
    ("show anno/cells 9", 3),
    ("show anno/cells nine", 2),
    ("create anno/cells --type segment --field weight=1", 2),
    ("create anno/cells --type synapse --field weight=heavy", 2),
    ("create anno/cells --field colour=red", 2),
    ("set anno/cells 9 --field status=1", 3),
    ("set anno/cells 9", 2),
    ("voxels anno/cells 9 -o cell.txt", 2),
    ("merge anno/cells 1", 2),
    ("merge anno/cells 1 2", 3),
    ("reserve anno/cells 0", 2),
    ("delete anno/cells", 2),
]


def test_lines_that_cannot_be_meant_end_with_a_code(run: Any) -> None:
    for line, code in LINES:
        assert run(line, code=code) == "", line
