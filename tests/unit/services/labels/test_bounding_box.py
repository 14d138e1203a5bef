"""The exact box of a label, of which few cuboids are read."""

import numpy as np
import pytest

from ndlambda.services.labels.bounding_box import cuboids_box, mask_box, tight_box
from ndlambda.space.box import Box
from ndlambda.space.morton import decode, encode_indices

CUBOID = (4, 3, 2)


class Looks:
    """Looks into the cuboids of a volume, and counts them."""

    def __init__(self, volume: np.ndarray) -> None:
        self.volume = volume
        self.codes: list[int] = []

    def __call__(self, codes: np.ndarray) -> dict[int, Box | None]:
        self.codes += codes.tolist()
        found = {}
        for code in codes.tolist():
            corner = tuple(i * edge for i, edge in zip(decode(code), CUBOID, strict=True))
            box = Box.at(corner, CUBOID)
            found[code] = mask_box(self.volume[box.slices_zyx()], corner)
        return found

    def box(self, *, spans: bool = True) -> Box | None:
        """Return the box of the whole volume, whose cuboids may all hold the label."""
        counts = [size // edge for size, edge in zip(self.volume.shape[::-1], CUBOID, strict=True)]
        codes = np.sort(encode_indices(np.argwhere(np.ones(counts))))
        return tight_box(codes, self, lambda some: cuboids_box(some, CUBOID) if spans else None)


@pytest.mark.parametrize("spans", [True, False])
@pytest.mark.parametrize("share", [0, 0.0002, 0.002, 0.9])
def test_the_box_is_exact_and_no_cuboid_is_read_twice(share, spans):
    for seed in range(5):
        looks = Looks(np.random.default_rng(seed).random((22, 36, 44)) < share)
        assert looks.box(spans=spans) == mask_box(looks.volume, (0, 0, 0))
        assert len(looks.codes) == len(set(looks.codes))


@pytest.mark.parametrize("edge", [10, 20, 40])
def test_of_a_large_object_as_few_cuboids_are_read_as_of_a_small_one(edge):
    x, y, z = (edge * size for size in CUBOID)
    looks = Looks(np.ones((z, y, x), np.bool_))
    assert looks.box() == Box((0, 0, 0), (x, y, z))
    assert len(looks.codes) <= 6 * 64
