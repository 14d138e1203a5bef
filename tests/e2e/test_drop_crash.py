"""SIGKILL to the server, again and again, while slices are dropped into its folder.

Its builders die with calls in hand that the queue gives to nobody for a quarter of an hour, and the
look at the folder forgets what it has told of.
"""

import random
import subprocess
from contextlib import suppress

import numpy as np
import pytest

from tests.support.dropped_stack import CHANNEL, DroppedStack, LaptopFolder, manifest_of
from tests.support.server import serving

pytestmark = pytest.mark.e2e

KILLS = 10
DEPTH = 330  # eleven chunks: slabs of 32 slices


@pytest.fixture(scope="module")
def stack():
    """A stack whose manifest comes somewhere among the slices."""
    voxels = np.random.default_rng(10).integers(1, 255, (DEPTH, 140, 150), np.uint8)
    manifest = manifest_of(voxels, 7, levels=1) | {"propagate": True}
    return DroppedStack("killed", voxels, 7, manifest=manifest)


def test_a_server_that_is_killed_ten_times_ingests_all(stack, tmp_path):
    dice, files, put = random.Random(1), stack.files(1), LaptopFolder(tmp_path / "nd")
    for number in range(KILLS):
        with serving(put.data, NDLAMBDA_FSYNC="0") as server:
            for key, body in files[number::KILLS]:
                put(key, body)
            with suppress(subprocess.TimeoutExpired):  # it is to run for so long
                server.process.wait(dice.uniform(0.0, 2.0))
            server.kill()
    with serving(put.data, NDLAMBDA_FSYNC="0") as server:
        client = server.client()
        stack.check_served(client)
        assert client.propagation(stack.token, CHANNEL).status()["state"] != "none"
