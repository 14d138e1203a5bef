"""SIGKILL to the server, again and again, while slices are dropped into its folder.

Its builders die with calls in hand that the queue gives to nobody for a quarter of an hour, and the
look at the folder forgets what it has told of.
"""

import random
import subprocess
from contextlib import suppress

import numpy as np
import pytest

from ndlambda.client import connect
from tests.support.dropped_stack import CHANNEL, DroppedStack, LaptopFolder
from tests.support.server import serving

pytestmark = pytest.mark.e2e

KILLS = 10
DEPTH = 330  # Eleven chunks: slabs of 32 slices


@pytest.fixture(scope="module")
def stack():
    """A stack whose manifest comes somewhere among the slices."""
    voxels = np.random.default_rng(10).integers(1, 255, (DEPTH, 140, 150), np.uint8)
    manifest = {
        "dataset": {
            "ximagesize": 150,
            "yimagesize": 140,
            "zimagesize": DEPTH,
            "zoffset": 7,
            "scalinglevels": 1,
        },
        "channel": {"channel_type": "image", "channel_datatype": "uint8"},
        "propagate": True,
    }
    return DroppedStack("killed", voxels, 7, manifest=manifest)


@pytest.mark.parametrize("seed", [1])
def test_a_server_that_is_killed_ten_times_ingests_all(stack, tmp_path, seed):
    dice = random.Random(seed)
    files = stack.files(seed)
    shares = [files[n::KILLS] for n in range(KILLS)]
    put = LaptopFolder(tmp_path / "nd")
    for share in shares:
        with serving(put.data, NDLAMBDA_FSYNC="0") as server:
            for key, body in share:
                put(key, body)
            with suppress(subprocess.TimeoutExpired):  # it is to run for so long
                server.process.wait(dice.uniform(0.0, 2.0))
            server.kill()
    with serving(put.data, NDLAMBDA_FSYNC="0") as server:
        client = connect(server.url, server.key)
        stack.check_served(client)
        assert client.propagation(stack.token, CHANNEL).status()["state"] != "none"
