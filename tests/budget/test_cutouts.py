"""Requests to the stores for cutouts: formulas of ``docs/costs.md``."""

import pytest

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from tests.support.app import server_fixture, v1_cutout
from tests.support.bodies import noise, npy

server = server_fixture()

SIZES = {"x=0:256&y=0:256": 1, "x=0:512&y=0:256": 2, "x=0:1024&y=0:512": 8}
"""Boxes, and the supercuboids in each."""


@pytest.fixture(scope="module")
def volume(server):
    channel = Channel("pr", "em", ChannelType.IMAGE, DataType.UINT8)
    server.add_volume(Dataset("wide", (1024, 512, 64)), channel)
    return server


@pytest.mark.parametrize("box", SIZES)
def test_a_cutout(volume, box):
    """Read with warm caches of keys and catalogue; written where nothing is, and over it."""
    counts, supercuboids = volume.stores, SIZES[box]
    path = v1_cutout("wide", "em", f"{box}&z=0:32&format=npy")
    width, height = (int(part.partition(":")[2]) for part in box.split("&"))
    body = npy(noise((32, height, width)))
    for _ in range(2):
        volume.read(path)  # warm
        counts.reset()
        volume.write(path, body)
        rows = sum(count for verb, count in counts.calls.items() if verb.startswith("table."))
        assert rows <= 6, counts.calls
        assert counts.requests - rows <= 3 * supercuboids, counts.calls
    volume.read(path)
    counts.reset()
    volume.read(path)
    rows = sum(count for verb, count in counts.calls.items() if verb.startswith("table."))
    assert rows <= 1, counts.calls
    assert counts.requests - rows <= supercuboids, counts.calls
