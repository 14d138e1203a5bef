"""Slices copied one by one into the drop folder of a running server, or into the bucket."""

import os

import numpy as np
import pytest
from PIL import Image

from ndlambda import runtime
from ndlambda.local.synthetic import em_stack
from ndlambda.settings import Settings
from ndlambda.stores.aws import AwsConfig, S3ObjectStore
from ndlambda.stores.ports import Overwrite
from ndlambda.voxels.downsample import Method, downsample
from tests.conftest import REAL_DATA
from tests.support.dropped_stack import CHANNEL, DroppedStack, LaptopFolder, manifest_of, until
from tests.support.server import serving

pytestmark = pytest.mark.e2e

FIRST = 2600
"""The number of FIB-25's first slice."""

LONG = os.environ.get("NDLAMBDA_LONG_TESTS") == "1"

QUEUES = ("erase_queue", "propagate_queue", "drop_queue", "ingest_queue")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server on files that need not outlive a power cut."""
    with serving(tmp_path_factory.mktemp("drop") / "nd", NDLAMBDA_FSYNC="0") as running:
        yield running


@pytest.fixture(scope="module")
def voxels():
    """The first slices of FIB-25, or where it is not there something like it, axes (z, y, x)."""
    folder = REAL_DATA / "fib25" / "grayscale"
    if not folder.is_dir():
        return em_stack((90, 250, 250), seed=25)
    paths = [folder / f"iso.{FIRST + z}.png" for z in range(90)]
    return np.stack([np.asarray(Image.open(path)) for path in paths])


def check_propagated(client, stack):
    """Make sure that the coarser resolutions are those of the whole volume."""
    for _ in until("a propagation that has ended"):
        if client.propagation(stack.token, CHANNEL).status()["state"] == "done":
            break
    coarse = stack.voxels
    for resolution in (1, 2):
        coarse = downsample(coarse, (2, 2, 1), Method.MEAN)
        found = client.volume(stack.token, CHANNEL, resolution).read()
        np.testing.assert_array_equal(found, coarse)


def test_files_copied_in_any_order_are_served_and_propagated(server, voxels):
    """The manifest comes somewhere among the slices."""
    manifest = manifest_of(voxels, FIRST) | {"propagate": True}
    stack = DroppedStack("declared", voxels, FIRST, manifest=manifest)
    stack.drop(LaptopFolder(server.data), seed=1)
    client = server.client()
    stack.check_served(client)
    check_propagated(client, stack)


def test_files_without_a_manifest_are_served_when_done_is_there(server, voxels):
    stack = DroppedStack("undeclared", voxels[:40], FIRST)
    folder = LaptopFolder(server.data)
    *slices, done = stack.files(seed=2)
    for key, body in slices:
        folder(key, body)
    client = server.client()
    assert not stack.jobs(client)
    folder(*done)
    stack.check_served(client)


def test_objects_in_the_bucket_are_served_and_propagated(moto_server, voxels, tmp_path):
    """By the notifications of the bucket alone: the one that puts announces nothing."""
    settings = Settings(
        store="aws",
        bucket="e2e-drop",
        table="e2e-drop",
        **{queue: f"e2e-{queue}" for queue in QUEUES},
        aws_endpoint=moto_server.endpoint,
        secret="secret",
    )
    runtime.create_aws_stores(settings)
    bucket = S3ObjectStore(AwsConfig(endpoint_url=moto_server.endpoint), settings.bucket)
    environment = {
        f"NDLAMBDA_{name.upper()}": str(getattr(settings, name))
        for name in ("store", "bucket", "table", "aws_endpoint", "secret", *QUEUES)
    }
    piece = voxels if LONG else voxels[:5]  # a simulated AWS takes its time
    manifest = manifest_of(piece, FIRST) | {"propagate": True}
    stack = DroppedStack("bucket", piece, FIRST, manifest=manifest)
    with serving(tmp_path / "nd", **environment) as server:
        stack.drop(lambda key, body: bucket.put(key, body, Overwrite()), seed=4)
        client = server.client()
        stack.check_served(client)
        check_propagated(client, stack)
