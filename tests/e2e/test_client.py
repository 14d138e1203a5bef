"""The Python client and the real server."""

import threading
from contextlib import ExitStack

import numpy as np
import pytest

from ndlambda import errors
from ndlambda.client import RetryPolicy, connect
from tests.support.server import serving

pytestmark = pytest.mark.e2e

OFFSET_ZYX = (1, 20, 300)
SHAPE_ZYX = (70, 540, 560)
"""More than one request of the client (512x512x64 voxels) along each axis."""


@pytest.fixture(scope="module")
def client(server):
    return connect(server.url, server.key)


def make_volume(client, name):
    """Make a dataset and all below it, and open the channel."""
    fields = {f"{axis}imagesize": size for axis, size in zip("zyx", SHAPE_ZYX, strict=True)}
    fields |= {f"{axis}offset": offset for axis, offset in zip("zyx", OFFSET_ZYX, strict=True)}
    client.datasets.create(name, **fields, scalinglevels=1, public=0)
    client.projects(name).create(name, public=0)
    client.channels(name, name).create("em", channel_type="image", channel_datatype="uint8")
    client.tokens(name, name).create(name, public=0)
    return client.volume(name, "em")


def random_voxels():
    return np.random.default_rng(4).integers(1, 255, SHAPE_ZYX, np.uint8)


def test_a_whole_volume_in_parallel_requests(client):
    volume = make_volume(client, "whole")
    voxels = random_voxels()
    assert (volume.shape, volume.offset_zyx, volume.dtype) == (SHAPE_ZYX, OFFSET_ZYX, np.uint8)
    volume[:] = voxels
    assert np.array_equal(volume[:], voxels)
    assert np.array_equal(np.asarray(volume), voxels)
    assert volume.at(1).shape == (70, 270, 280)
    coarse = volume.at(1)[1:17]
    assert coarse.shape == (16, 270, 280)
    assert coarse.all()


def test_errors_arrive_as_their_classes(server, client):
    volume = make_volume(client, "errors")
    with pytest.raises(errors.OutOfBoundsError):
        volume[0]
    with pytest.raises(errors.TokenNotFoundError):
        client.volume("nobody", "em")
    with pytest.raises(
        (errors.PermissionDeniedError, errors.TokenNotFoundError, errors.AuthenticationError)
    ):
        connect(server.url).volume("errors", "em")
    with pytest.raises(errors.AuthenticationError):
        connect(server.url, "0" * 64).volume("errors", "em")
    query = "resolution=0&x=0:1&y=0:1&z=0:1&format=raw"
    with pytest.raises(errors.OutOfBoundsError):
        client._session.request("GET", f"/v1/projects/errors/channels/em/cutout?{query}")


def test_a_transfer_goes_on_over_a_crash_of_the_server(tmp_path):
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
        voxels = random_voxels()

        def crash_once(done, total):
            if done < total and len(servers) == 1:
                with door:
                    servers[0].kill()

        volume.write(volume.box, voxels, progress=crash_once)
        assert len(servers) == 2, "the server was killed and started again under way"
        assert np.array_equal(volume[:], voxels)
