"""Objects of an annotation channel by the command and the client, on the real server."""

import numpy as np
import pytest

from ndlambda.errors import NotFoundError
from ndlambda.space.box import Box

pytestmark = pytest.mark.e2e


def test_objects_from_the_first_to_a_merge(server, run, tmp_path):
    client = server.client()
    client.datasets.create("anno", ximagesize=256, yimagesize=200, zimagesize=40, zoffset=1)
    client.projects("anno").create("anno")
    client.channels("anno", "anno").create(
        "cells", channel_type="annotation", channel_datatype="uint64"
    )
    client.tokens("anno", "anno").create("anno")
    cells = client.annotations("anno", "cells")

    assert run("annotation create anno/cells --type segment --field neuron=9") == "1\n"
    other = cells.create(type="segment", neuron=9, pairs={"seen": "yes"})
    mask = np.random.default_rng(7).random((6, 70, 150)) < 0.3
    cells.paint(1, (60, 100, 12), mask)
    cells.paint(other, (60, 100, 12), np.ones_like(mask), discipline="preserve")

    box = "60:210,100:170,12:18"
    assert run(f"annotation list anno/cells --field neuron=9 --box {box}") == f"1\n{other}\n"
    assert cells.query(pairs={"seen": "yes"}) == [other]
    assert cells.ids().tolist() == [1, other]
    run(f"annotation voxels anno/cells 1 -o {tmp_path / 'cell.npy'}")
    points = np.load(tmp_path / "cell.npy") - (60, 100, 12)
    found = np.zeros_like(mask)
    found[points[:, 2], points[:, 1], points[:, 0]] = True
    np.testing.assert_array_equal(found, mask)

    run("annotation set anno/cells 1 --field status=2")
    assert cells.get(1)["status"] == 2
    run(f"annotation merge anno/cells 1 {other}")
    assert cells.cutout(1, Box.at((60, 100, 12), (150, 70, 6))).array.all()
    with pytest.raises(NotFoundError):
        cells.get(other)
    said = run("annotation delete anno/cells 1 4000 --yes")
    assert said.splitlines() == ["object 1 is deleted", "there is no object 4000"]
    assert cells.query() == []
    assert cells.ids().tolist() == []
