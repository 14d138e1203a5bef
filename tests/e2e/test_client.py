"""The Python client and the real server."""

import threading
from contextlib import ExitStack

import numpy as np
import pytest

from ndlambda.client import RetryPolicy, connect
from ndlambda.errors import (
    AuthenticationError,
    NDLambdaError,
    OutOfBoundsError,
    PermissionDeniedError,
    TokenNotFoundError,
)
from ndlambda.space.box import Box
from tests.support.server import serving

pytestmark = pytest.mark.e2e

OFFSET_ZYX = (1, 20, 300)
SHAPE_ZYX = (70, 540, 560)
"""More than one request of the client (512x512x64 voxels) along each axis."""


@pytest.fixture(scope="module")
def client(server):
    return connect(server.url, server.key)


@pytest.fixture(scope="module")
def make_volume():
    """Make a dataset and all below it, and open the channel."""

    def make(client, name, **channel):
        axes = zip("zyx", SHAPE_ZYX, OFFSET_ZYX, strict=True)
        fields = {f"{axis}imagesize": size for axis, size, _ in axes}
        fields |= {f"{axis}offset": offset for axis, offset in zip("zyx", OFFSET_ZYX, strict=True)}
        fields |= {f"{axis}voxelres": 4.0 for axis in "xyz"}
        client.datasets.create(name, **fields, scalinglevels=1, scalingoption=0, public=0)
        client.projects(name).create(name, public=0)
        image = {"channel_type": "image", "channel_datatype": "uint8"}
        client.channels(name, name).create("em", **{**image, **channel})
        client.tokens(name, name).create(name, public=0)
        return client.volume(name, "em")

    return make


def random_voxels(shape, dtype=np.uint8, seed=4):
    return np.random.default_rng(seed).integers(1, 255, shape, dtype=dtype)


def test_a_whole_volume_in_parallel_requests(client, make_volume):
    volume = make_volume(client, "whole")
    voxels = random_voxels(SHAPE_ZYX)
    assert (volume.shape, volume.offset_zyx, volume.dtype) == (SHAPE_ZYX, OFFSET_ZYX, np.uint8)
    volume[:] = voxels
    assert np.array_equal(volume[:], voxels)
    assert np.array_equal(np.asarray(volume), voxels)
    assert volume.at(1).shape == (70, 270, 280)
    coarse = volume.at(1)[1:17]
    assert coarse.shape == (16, 270, 280)
    assert coarse.all()


def test_unaligned_boxes_both_ways_against_numpy(client, make_volume):
    volume = make_volume(client, "unaligned", channel_datatype="uint16")
    mirror = np.zeros(SHAPE_ZYX, np.uint16)
    dice = np.random.default_rng(6)
    z0, y0, x0 = OFFSET_ZYX
    for turn in range(12):
        ranges = [sorted(dice.choice(size + 1, 2, replace=False)) for size in (70, 540, 560)]
        (za, zb), (ya, yb), (xa, xb) = [(int(a), int(min(b, a + 90))) for a, b in ranges]
        voxels = random_voxels((zb - za, yb - ya, xb - xa), np.uint16, seed=turn)
        voxels[dice.random(voxels.shape) < 0.3] = 0
        volume[z0 + za : z0 + zb, y0 + ya : y0 + yb, x0 + xa : x0 + xb] = voxels
        part = mirror[za:zb, ya:yb, xa:xb]
        np.copyto(part, voxels, where=voxels != 0)
    assert np.array_equal(volume[:], mirror)
    assert np.array_equal(volume[z0 + 10, :, x0 + 5 : x0 + 300], mirror[10, :, 5:300])
    assert volume[z0 + 3, y0 + 4, x0 + 5] == mirror[3, 4, 5]
    assert np.array_equal(volume[-1], mirror[-1])


def test_a_time_series(client, make_volume):
    volume = make_volume(
        client, "times", channel_type="timeseries", channel_datatype="float32",
        starttime=2, endtime=6,
    )  # fmt: skip
    frames = random_voxels((4, 9, 30, 40)).astype(np.float32) / 7
    (z, y, x), (first, last) = OFFSET_ZYX, volume.times
    assert (first, last) == (2, 6)
    volume[2:6, z : z + 9, y : y + 30, x : x + 40] = frames
    assert np.array_equal(volume[3:5, z : z + 9, y : y + 30, x : x + 40], frames[1:3])
    assert np.array_equal(volume.at_time(5)[z + 2, y : y + 30, x : x + 40], frames[3, 2])
    box = Box((x, y, z), (x + 40, y + 30, z + 9))
    assert np.array_equal(volume.read(box, times=(2, 6)), frames)


def test_errors_arrive_as_their_classes(server, client, make_volume):
    volume = make_volume(client, "errors")
    with pytest.raises(OutOfBoundsError):
        volume[0]
    with pytest.raises(TokenNotFoundError):
        client.volume("nobody", "em")
    with pytest.raises((PermissionDeniedError, TokenNotFoundError, AuthenticationError)):
        connect(server.url).volume("errors", "em")
    with pytest.raises(AuthenticationError):
        connect(server.url, "0" * 64).volume("errors", "em")
    query = "resolution=0&x=0:1&y=0:1&z=0:1&format=raw"
    with pytest.raises(NDLambdaError) as refused:
        client._session.request("GET", f"/v1/projects/errors/channels/em/cutout?{query}")
    assert isinstance(refused.value, OutOfBoundsError)


def test_a_transfer_goes_on_over_a_crash_of_the_server(make_volume, tmp_path):
    """The pauses between attempts are where the test starts the server again."""
    data, door = tmp_path / "nd", threading.Lock()
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(data))]

        def start_again(_wait_s):
            with door:
                if servers[-1].process.poll() is not None:
                    servers.append(stack.enter_context(serving(data, port=servers[0].port)))

        client = connect(servers[0].url, servers[0].key, retry=RetryPolicy(sleep=start_again))
        volume = make_volume(client, "crash")
        voxels = random_voxels(SHAPE_ZYX)

        def crash_once(done, total):
            if done < total and len(servers) == 1:
                with door:
                    servers[0].kill()

        volume.write(volume.box, voxels, progress=crash_once)
        assert len(servers) == 2, "the server was killed and started again under way"
        assert np.array_equal(volume[:], voxels)
