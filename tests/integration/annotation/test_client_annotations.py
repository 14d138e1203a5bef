"""The client's annotations, and the command over them, against the real application."""

import json
import shlex
from typing import Any

import numpy as np
import pytest

from ndlambda import client as nd
from ndlambda import errors
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.space.box import Box
from ndlambda.space.pyramid import Scaling
from tests.support.app import run_command, serving
from tests.support.fake_server import URL, WsgiTransport

BRAIN = Dataset(
    "anno", (300, 200, 150), offset_xyz=(10, 20, 5), scaling=Scaling.ISOTROPIC, scalinglevels=2
)


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path / "nd") as server:
        server.add_volume(BRAIN, Channel("", "cells", ChannelType.ANNOTATION, DataType.UINT64))
        yield server


@pytest.fixture
def cells(server):
    client = nd.connect(URL, server.keys["alice"], transport=WsgiTransport(server.app))
    return client.annotations("anno", "cells")


def rows(points: Any) -> set[tuple[int, ...]]:
    return {tuple(row) for row in points.tolist()}


def test_refusals_arrive_as_errors_that_say_which_field(cells):
    with pytest.raises(errors.ValidationError, match="weight") as raised:
        cells.create_many([{"type": "segment"}, {"type": "synapse", "weight": "x"}])
    assert raised.value.details["errors"][0]["field"] == "1.weight"
    number = cells.create(type="segment", id=2**63 + 1)
    assert number == 2**63 + 1
    with pytest.raises(errors.AlreadyExistsError):
        cells.create(type="segment", id=number)


def test_what_is_left_out_of_a_question_means_everywhere(cells):
    number = cells.create(type="segment", pairs={"a b": "1&2"})
    assert cells.top_keys() == [("a b", 1)]
    assert cells.get(cells.create())["type"] == "annotation"
    cells.paint_voxels(number, [[100, 60, 40], [101, 62, 44]])
    tight, loose = cells.box(number), cells.box(number, loose=True)
    assert tight == Box((100, 60, 40), (102, 63, 45))
    assert loose is not None
    assert tight.within(loose)
    assert cells.cuboids(number) == [loose]
    assert cells.cutout(number).corner_xyz == loose.start_xyz
    assert cells.ids().tolist() == [number]
    assert len(cells.exceptions().labels) == 0


def test_a_large_mask_goes_in_blocks_that_have_voxels(server, cells):
    number = cells.create(type="segment")
    mask = np.zeros((140, 190, 290), np.bool_)
    mask[0, 0, 0] = mask[139, 189, 289] = mask[70, 100, 127:130] = True
    cells.paint(number, (12, 22, 6), mask)
    assert rows(cells.voxels(number)) == rows(np.argwhere(mask)[:, ::-1] + (12, 22, 6))


@pytest.fixture
def run(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run_line(line: str, *, code: int = 0, typed: str = "") -> str:
        done = run_command(server, "annotation", *shlex.split(line), typed=typed)
        assert done.exit_code == code, (done.output, done.exception)
        assert code != 2 or done.stderr
        return done.stdout

    return run_line


def test_voxels_are_saved_as_text_and_boxes_are_loose(run, cells, tmp_path):
    number = cells.create(type="segment")
    cells.paint_voxels(number, [[10, 20, 5], [12, 25, 7]])
    found = json.loads(run(f"box anno/cells {number} --loose --json"))
    assert found == {"start": [10, 20, 5], "stop": [74, 84, 69]}
    assert run("ids anno/cells") == f"{number}\n"
    assert "2 voxels" in run(f"voxels anno/cells {number} -o cell.csv")
    lines = (tmp_path / "cell.csv").read_text().splitlines()
    assert lines[0] == "x,y,z"
    assert set(lines[1:]) == {"10,20,5", "12,25,7"}


def test_objects_are_deleted_when_that_is_confirmed(run, cells):
    assert json.loads(run("reserve anno/cells 2 --json")) == {"first": 1, "count": 2}
    cells.create_many([{"type": "segment", "id": number} for number in (1, 2)])
    run("delete anno/cells 1 2", code=1, typed="n\n")
    assert cells.query() == [1, 2]
    assert "object 2 is deleted" in run("delete anno/cells 1 2", typed="y\n")
    assert cells.query() == []


LINES = {
    2: [
        "list anno", "list anno/cells --type cell", "list anno/cells --field colour=red",
        "list anno/cells --field segments", "list anno/cells --box 1:2", "show anno/cells nine",
        "create anno/cells --type segment --field weight=1", "set anno/cells 9",
        "create anno/cells --type synapse --field weight=heavy", "merge anno/cells 1",
        "create anno/cells --field colour=red", "voxels anno/cells 9 -o cell.txt",
        "reserve anno/cells 0", "delete anno/cells",
    ],
    3: [
        "list anno/nowhere", "show anno/cells 9", "set anno/cells 9 --field status=1",
        "merge anno/cells 1 2",
    ],
    4: ["list nowhere/cells"],
}  # fmt: skip
"""By the code they end with."""


def test_lines_that_cannot_be_meant_end_with_a_code(run):
    for code, lines in LINES.items():
        for line in lines:
            assert run(line, code=code) == "", line


def test_objects_are_shown_as_a_table(run, cells):
    cells.create(type="synapse", segments=[7, 9], pairs={"a b": "1=2"})
    table = run("show anno/cells 1")
    assert "pair a b" in table
    assert "7,9" in table
