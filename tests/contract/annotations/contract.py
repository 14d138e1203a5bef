"""The contract of annotation channels, which every driver of a dialect has to keep.

A test that needs words that a dialect has not is no test of it: ``needs`` names the words, and
``cannot`` of the driver the reason. Subjects are in the modules beside this one.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
import pytest

from ndlambda.space.box import Box
from tests.contract.annotations.driver import AnnotationDriver
from tests.contract.annotations.service import ServiceObjects
from tests.support.annotation_server import OFFSET, VOLUME, new_channel
from tests.support.bodies import Array

Test = TypeVar("Test", bound=Callable[..., None])
Make = Callable[..., AnnotationDriver]

CORNER = (135, 145, 19)
MASK = np.random.default_rng(3).integers(0, 3, (6, 8, 10), np.uint8)
BLOCK = Box.at(CORNER, MASK.shape[::-1])
"""In eight cuboids."""
POINTS = np.argwhere(MASK)[:, ::-1] + CORNER
SPOT = (40, 50, 10)
AROUND = Box((38, 48, 9), (44, 54, 13))
ELSEWHERE = Box((100, 48, 9), (106, 54, 13))
OUTSIDE = Box((9, 48, 9), (44, 54, 13))
WIDE = Box((30, 40, 8), (70, 60, 13))
EVERYWHERE = Box.at(OFFSET, VOLUME.imagesize_xyz)
LAST = (209, 169, 74)
"""The last voxel of the image."""


def needs(*words: str) -> Callable[[Test], Test]:
    """Say which words of a dialect a test needs."""

    def mark(test: Test) -> Test:
        test.needs = words  # type: ignore[attr-defined]
        return test

    return mark


def words_of(test: object) -> tuple[str, ...]:
    """Return the words that a test needs."""
    return getattr(test, "needs", ())


def rows(points: Array) -> set[tuple[int, ...]]:
    """Return voxels, of which each must be there once."""
    assert points.dtype == np.uint32
    found = {tuple(point) for point in points.tolist()}
    assert len(found) == len(points)
    return found


class AnnotationContract:
    """Subclass per driver, in a module with the fixtures ``server`` and ``small_server``.

    All tests share them, and each that writes has a channel of its own. Of ``small_server``, a call
    reads 10 000 voxels.
    """

    driver: ClassVar[type[Any]]

    def __init_subclass__(cls):
        """Leave out the tests that the dialect has no words for."""
        for name in dir(cls) if hasattr(cls, "driver") else ():
            if set(words_of(getattr(cls, name))) & set(cls.driver.cannot):
                setattr(cls, name, None)

    @pytest.fixture
    def make(self, server):
        """Return what opens a new channel; ``objects`` is one with exceptions, of 32 bits."""

        def made(**changes: Any) -> AnnotationDriver:
            return self.driver(server, new_channel(server, **changes))

        return made

    @pytest.fixture
    def objects(self, make):
        return make()

    @pytest.fixture
    def by_hand(self, server, objects):
        """The channel of ``objects``, prepared and looked at without the dialect."""
        return ServiceObjects(server, objects.channel)


WAYS: Mapping[str, Callable[..., None]] = {
    "mask": lambda objects, number, how: objects.paint(number, CORNER, MASK, how),
    "voxels": lambda objects, number, how: objects.paint_voxels(number, POINTS, how),
}
