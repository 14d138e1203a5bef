"""Requests to the stores for many annotation objects: formulas of ``docs/costs.md``."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ndlambda.model.catalog import Channel
from ndlambda.model.ramon import ObjectQuery, Segment
from ndlambda.services.annotation import erasing
from ndlambda.services.annotation.options import WriteMode
from ndlambda.testing.counting import CountingStores
from ndlambda.wire.ramon.contract import RamonItem
from tests.support.annotation_world import DATASET, AnnotationWorld, disk_world, points

SIZES = (50, 200, 800)
SUPERCUBOIDS = 2


@pytest.fixture
def stores() -> CountingStores:
    return CountingStores()


@pytest.fixture
def world(tmp_path, stores: CountingStores) -> Iterator[AnnotationWorld]:
    with ThreadPoolExecutor(2) as first, ThreadPoolExecutor(2) as second:
        plain = disk_world(tmp_path, (first, second))
        plain.populate()
        yield stores.wrap(plain)
        plain.close()


def filled(world: AnnotationWorld, numbers: range) -> Channel:
    """Return a channel with objects of a voxel each, in two supercuboids."""
    channel = world.channel()
    world.own.writer.upload(
        DATASET,
        channel,
        [points(Segment(n), [[n % 200, n // 200, 35 * (n % 2)]]) for n in numbers],
        WriteMode(),
    )
    return channel


@pytest.mark.parametrize("count", SIZES)
def test_deleting_many_objects(world, stores, count):
    channel = filled(world, numbers := range(1, count + 1))
    stores.reset()
    assert world.own.writer.delete(channel, numbers) == []
    assert stores.requests <= 100 + count / 25 + 4 * SUPERCUBOIDS, stores.calls
    assert not np.any(world.image(channel))


def test_more_than_a_request_erases_is_left_to_jobs(world, stores, monkeypatch):
    """The objects are gone at once; their voxels are erased by jobs of several objects each."""
    monkeypatch.setattr(erasing, "MAX_ERASED", SIZES[0] - 1)
    channel = filled(world, numbers := range(1, SIZES[0] + 1))
    stores.reset()
    assert world.own.writer.delete(channel, numbers) == [*numbers]
    assert stores.requests <= 4 + SIZES[0] / 24, stores.calls
    assert world.own.ramon.query(channel, ObjectQuery()) == []
    assert np.any(world.image(channel))
    assert len(world.jobs) == 3
    world.pump()
    assert not np.any(world.image(channel))
    assert not world.jobs


@pytest.mark.parametrize("count", SIZES)
def test_replacing_many_objects(world, stores, count):
    channel = filled(world, numbers := range(1, count + 1))
    stores.reset()
    items = [RamonItem(Segment(number, author="a")) for number in numbers]
    world.own.writer.upload(DATASET, channel, items, WriteMode(update=True))
    assert stores.requests <= 5 + count / 33, stores.calls
