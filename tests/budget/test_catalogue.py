"""Requests to the table for opening a channel: as many however many a project has."""

import pytest

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.catalog.project_view import FEW
from tests.support.app import server_fixture, v1_cutout
from tests.support.bodies import noise, npy

server = server_fixture(scope="function")


@pytest.mark.parametrize("count", [FEW // 5, FEW + 1, 5 * FEW])
def test_opening_a_channel(server, count):
    """Its row is read alone where a project has many; others are not read at all."""
    channels = [
        Channel("wide", f"c{number:04d}", ChannelType.IMAGE, DataType.UINT8)
        for number in range(count)
    ]
    server.add_volume(Dataset("wide", (64, 64, 16)), *channels)
    path = v1_cutout("wide", channels[-1].name, "x=0:64&y=0:64&z=0:16&format=npy")
    body = npy(noise((16, 64, 64)))
    for ask, most in (
        (lambda: server.write(path, body), 9),
        (lambda: server.write(path, body), 8),
        (lambda: server.read(path), 6),
        (lambda: server.read(path), 1),
        (lambda: server.read("/", None), 10),
    ):
        server.stores.reset()
        ask()
        rows = {verb: n for verb, n in server.stores.calls.items() if verb.startswith("table.")}
        assert sum(rows.values()) <= most, rows
        assert server.stores.items["table.query"] <= FEW + 1
