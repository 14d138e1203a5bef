"""What is plainly an image is told from labels of every kind."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ndlambda.local.synthetic import em_stack
from ndlambda.voxels.grey import is_plainly_grey

IMAGES = {
    "uint8": lambda: em_stack((3, 200, 200), seed=1),
    "uint16": lambda: em_stack((3, 200, 200), seed=1).astype(np.uint16) * 5 + 1000,
    "padded": lambda: np.pad(em_stack((2, 200, 200)), ((0, 0), (100, 0), (0, 300))),
    "cast to ids": lambda: em_stack((3, 200, 200)).astype(np.uint32),
    "noisy": lambda: np.random.default_rng(3).poisson(em_stack((2, 200, 200)) / 4).astype("u2"),
}
BLOBS = np.kron(np.arange(1, 40 * 40 + 1).reshape(1, 40, 40), np.ones((1, 5, 5), int))
LABELS = {
    "one": lambda: np.ones((3, 200, 200), np.uint32),
    "none": lambda: np.zeros((3, 200, 200), np.uint32),
    "blobs": lambda: BLOBS,
    "blobs of 2 x 2": lambda: np.kron(np.arange(1, 40001).reshape(1, 200, 200), np.ones((1, 2, 2))),
    "every voxel another": lambda: np.arange(1, 3 * 40000 + 1).reshape(3, 200, 200),
    "ramp": lambda: np.arange(3 * 40000).reshape(3, 200, 200) % 251 + 1,
    "random": lambda: np.random.default_rng(0).integers(1, 255, (3, 200, 200)),
    "mask": lambda: (em_stack((3, 200, 200)) > 150) * np.uint8(255),
    "small": lambda: em_stack((3, 50, 50)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_are_grey(name):
    assert is_plainly_grey(IMAGES[name]())


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_not(name):
    assert not is_plainly_grey(LABELS[name]())


@given(
    st.integers(0, 2**32), st.integers(2, 9), st.integers(2, 9), st.integers(0, 9), st.booleans()
)
def test_regions_of_any_size_order_and_gaps_are_no_image(seed, height, width, zeros, in_order):
    """Boxes with ids in any order, some of which are background."""
    random = np.random.default_rng(seed)
    shape = -(-160 // height), -(-160 // width)
    ids = np.arange(1, shape[0] * shape[1] + 1)
    ids = ids if in_order else random.permutation(ids) * int(random.integers(1, 1000))
    ids[random.random(ids.size) < zeros / 10] = 0
    assert not is_plainly_grey(np.kron(ids.reshape(1, *shape), np.ones((1, height, width), int)))


def test_the_real_image_is_and_the_real_labels_at_any_zoom_are_not(shared_data):
    folder = shared_data / "fib25"
    files = sorted((folder / "grayscale").iterdir())
    assert all(is_plainly_grey(np.asarray(Image.open(file))[None]) for file in files[::20])
    with np.load(folder / "groundtruth_labels.npz") as stored:
        labels = stored["labels"]
    for step in (1, 2, 4, 8, 16):
        for axis in range(3):
            planes = np.moveaxis(labels, axis, 0)[::7, ::step, ::step]
            assert not is_plainly_grey(planes)
            assert not any(is_plainly_grey(plane[None]) for plane in planes)
