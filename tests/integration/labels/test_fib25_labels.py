"""The ground truth of FIB-25 painted by four processes, and every body found again."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.service import LabelService
from ndlambda.services.labels.zoom import LabelView
from ndlambda.space.box import Box
from ndlambda.space.morton import encode_indices
from tests.support.label_world import LabelWorld, disk_stores, drawn, labels_in, points_of, region
from tests.support.truth_painter import CHANNEL, dataset_of, paint_all, read_truth

WORKERS = 4


@dataclass(frozen=True)
class Painted:
    """The truth, and the service over the stores that it was painted to."""

    truth: NDArray[np.uint32]
    service: LabelService

    @property
    def volume(self):
        return LabelVolume(CHANNEL, dataset_of(self.truth).pyramid.level(0), 0)


@pytest.fixture(scope="module")
def painted(fib25_truth, tmp_path_factory):
    stores = tmp_path_factory.mktemp("fib25")
    assert paint_all(fib25_truth, stores, WORKERS) == WORKERS
    with ThreadPoolExecutor(2) as pool, ThreadPoolExecutor(2) as rows:
        service = LabelWorld(*disk_stores(stores), pool, rows).service()
        yield Painted(read_truth(fib25_truth), service)


def bodies_of(truth):
    """Return the bodies, ascending, and for every voxel its body's place among them (0: none)."""
    bodies = np.unique(truth)
    places = np.zeros(int(bodies[-1]) + 1, np.int64)
    places[bodies] = np.arange(len(bodies))
    assert bodies[0] == 0
    return bodies, places[truth]


def test_the_index_of_every_body_and_box_and_size_of_some_are_the_truth(painted):
    bodies, place = bodies_of(painted.truth)
    assert len(bodies) == 526  # with 0, which is none
    read, volume = painted.service.read, painted.volume
    sizes = np.bincount(place.reshape(-1))
    spans = []  # of each axis (x, y, z): first and behind the last
    for axis in (2, 1, 0):
        present = np.zeros((len(bodies), place.shape[axis]), np.bool_)
        along = np.arange(place.shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
        present[place, along] = True
        spans.append((present.argmax(1), present.shape[1] - present[:, ::-1].argmax(1)))
    edge = volume.level.cuboid_xyz[0]
    grid = np.zeros((len(bodies), *(-(-n // edge) for n in place.shape)), np.bool_)
    z, y, x = (axis // edge for axis in np.ogrid[tuple(slice(n) for n in place.shape)])
    grid[place, z, y, x] = True

    for number, body in enumerate(bodies.tolist()):
        if not body:
            continue
        codes = np.sort(encode_indices(np.argwhere(grid[number])[:, ::-1]))
        np.testing.assert_array_equal(read.cuboids_of(volume, body), codes)
        if number % 5:  # for boxes and sizes their cuboids are read, which costs
            continue
        corners = [tuple(int(ends[side][number]) for ends in spans) for side in (0, 1)]
        assert read.shapes.bounding_box(LabelView(volume), [body]) == Box(*corners)
        assert len(points_of(painted.service, volume, body)) == sizes[number]


def test_ids_in_boxes_are_the_truth(painted):
    truth, random = painted.truth, np.random.default_rng(25)
    dataset = dataset_of(truth)
    for _ in range(50):
        ends = np.sort([random.choice(size + 1, 2, replace=False) for size in truth.shape[::-1]])
        box = Box(*(tuple(corner) for corner in ends.T.tolist()))
        found = labels_in(painted.service, CHANNEL, region(dataset, box))
        expected = np.unique(truth[box.slices_zyx()])
        np.testing.assert_array_equal(found, expected[expected != 0])


def test_the_largest_body_is_read_as_it_is(painted):
    truth = painted.truth
    bodies, place = bodies_of(truth)
    largest = int(bodies[np.bincount(place.reshape(-1))[1:].argmax() + 1])
    mask = truth == largest
    np.testing.assert_array_equal(drawn(painted.service, painted.volume, [largest]), mask)
    voxels = points_of(painted.service, painted.volume, largest)
    assert len(voxels) == mask.sum() > 10**6
    found = np.zeros_like(mask)
    found[tuple(voxels[:, ::-1].T)] = True
    np.testing.assert_array_equal(found, mask)
