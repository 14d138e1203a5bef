"""FIB-25, image and ground truth: four levels by workers, on every store, beside whole arrays."""

from contextlib import ExitStack
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from ndlambda.model.catalog import CodecSpec, Dataset
from ndlambda.model.discipline import Discipline
from ndlambda.space.pyramid import Scaling
from ndlambda.stores import aws
from ndlambda.voxels.downsample import Method
from tests.support.catalog_world import World, disk_world, moto_world
from tests.support.label_world import LabelWorld
from tests.support.propagation_world import PropagationWorld, image, labels
from tests.support.pyramids import expected_levels
from tests.support.truth_painter import read_truth

LEVELS = 4
CORNER = (190, 170, 140)
SMALL_CORNER = (70, 100, 70)  # what is taken of it, (z, y, x); and where requests are slow


@pytest.fixture(scope="module")
def em(shared_data):
    files = sorted((shared_data / "fib25" / "grayscale").glob("*.png"))
    if not files:
        pytest.skip("The slices of FIB-25 are optional and not here.")
    return np.stack([np.asarray(Image.open(file)) for file in files])


def seaweed_world(config, folder):
    world, name = disk_world(folder / "rows"), f"fib25-{uuid4().hex}"
    aws.create_bucket(config, name)
    return World(world.table, aws.S3ObjectStore(config, name), world.queue, world.clock)


@pytest.fixture(params=["disk", "moto", "seaweed"])
def world_for(request, tmp_path):
    """Yield what makes a world for as much of some voxels as its store bears."""
    stores, corner = None, SMALL_CORNER
    if request.param == "disk":
        corner = CORNER
    elif request.param == "moto":
        stores = moto_world(request.getfixturevalue("moto_config"))
    else:
        stores = seaweed_world(request.getfixturevalue("seaweed_config"), tmp_path)
    with ExitStack() as stack:

        def make(voxels):
            voxels = voxels[tuple(map(slice, corner))]
            dataset = Dataset(
                "fib25", voxels.shape[::-1], (8, 8, 8), scaling=Scaling.ISOTROPIC,
                scalinglevels=LEVELS,
            )  # fmt: skip
            world = PropagationWorld(tmp_path, dataset, depth=3, stores=stores)
            stack.callback(world.close)
            return world, voxels

        yield make


def assert_all_levels(world, channel, base, method):
    """Make sure that the workers are done, and each level is what whole arrays say it is."""
    now = world.channel(channel.name)
    assert now.propagate == 2
    levels = list(expected_levels(world.dataset, now, base, method))
    assert len(levels) == LEVELS
    volume = world.process().volume
    for region, wanted in [(world.region(), base), *levels]:
        found = volume.read(world.dataset, now, region)[0]
        np.testing.assert_array_equal(found, wanted, err_msg=str(region.level.resolution))
        assert wanted.any()


def test_every_level_of_the_image_is_the_mean_of_the_whole_below(world_for, em):
    world, em = world_for(em)
    channel = world.base.catalog.create_channel(image())
    world.process().volume.write(channel, world.region(), em[None])
    world.propagate(channel)
    assert_all_levels(world, channel, em, Method.MEAN)


def test_every_level_of_the_labels_is_voted_and_its_index_is_the_truth(world_for, fib25_truth):
    world, bodies = world_for(read_truth(fib25_truth))
    channel = world.base.catalog.create_channel(labels(codec=CodecSpec("zstd", 5)))
    painted = np.ascontiguousarray(bodies)[None]
    world.process().labels.paint(channel, world.region(), painted, Discipline.OVERWRITE)
    world.propagate(channel)
    assert_all_levels(world, channel, bodies, Method.LABELS)
    seen = LabelWorld(world.base.objects, world.base.table, *world.pools)
    truth = seen.truth(world.dataset, channel)
    assert {scope.resolution for scope, _ in truth} == set(range(LEVELS + 1))
    assert seen.indexed(channel) == truth
