"""The supercuboids that a write touches, and the port that is told of them before they change."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ndlambda.model.catalog import Channel
from ndlambda.services.volume.region import Region, layout_of
from ndlambda.space import grid, morton
from ndlambda.space.pyramid import Level


@dataclass(frozen=True, slots=True)
class TouchedSupercuboids:
    """Supercuboids of one resolution and time point, by Morton code."""

    resolution: int
    time_point: int
    codes: tuple[int, ...]

    @classmethod
    def by_region(cls, channel: Channel, region: Region) -> Iterator[Self]:
        """Iterate over all supercuboids of a region, whether or not anything in them will change.

        Near-isotropic levels are made from plain ones, which are marked; they are not.
        """
        if region.neariso:
            return
        cells = grid.cell_range(region.box, layout_of(channel, region.level).supercuboid_xyz)
        codes = tuple(morton.plan(cells.start_xyz, cells.stop_xyz).ravel().tolist())
        for time_point in range(*region.times):
            yield cls(region.level.resolution, time_point, codes)

    @classmethod
    def by_points(
        cls, channel: Channel, level: Level, time_point: int, points_xyz: NDArray[np.integer]
    ) -> Iterator[Self]:
        """Iterate over the supercuboids of voxels of a level: (n, 3), columns x, y, z."""
        edges = np.array(layout_of(channel, level).supercuboid_xyz)
        codes = np.unique(morton.encode_indices(points_xyz.astype(np.int64, copy=False) // edges))
        yield cls(level.resolution, time_point, tuple(codes.tolist()))


Targets: TypeAlias = Callable[[], Iterable[TouchedSupercuboids]]
"""Returns what a write may touch; called only where marks are kept."""


class Marks(Protocol):
    """The port that every write of voxels goes through."""

    def writing(self, channel: Channel, targets: Targets) -> AbstractContextManager[None]:
        """Return the context in which a channel's voxels are written."""
        ...


class NoMarks:
    """Marks nothing, for services without a table."""

    def writing(self, channel: Channel, targets: Targets) -> AbstractContextManager[None]:  # noqa: ARG002 - it looks at nothing
        """Return a context that does nothing."""
        return nullcontext()
