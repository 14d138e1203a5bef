"""One resolution of an annotation channel at one time point, and its supercuboids."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.layout import CuboidLayout
from ndlambda.errors import InvalidArgumentError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.labels.index import LabelLayer, split
from ndlambda.services.volume.place import SupercuboidPlace
from ndlambda.services.volume.region import Region, layout_of
from ndlambda.space import grid, morton
from ndlambda.space.box import XYZ, Box
from ndlambda.space.pyramid import Level


def check_annotation(channel: Channel) -> None:
    """Make sure that the voxels of a channel are labels.

    Raises
    ------
    InvalidArgumentError
        They are not.
    """
    if not channel.is_annotation:
        raise InvalidArgumentError(
            f"Channel {channel.name!r} is no annotation channel.", channel=channel.name
        )


@dataclass(frozen=True, slots=True)
class LabelVolume:
    """One resolution of an annotation channel at one time point.

    Raises
    ------
    InvalidArgumentError
        The channel is no annotation channel.
    """

    channel: Channel
    level: Level
    time_point: int

    def __post_init__(self) -> None:
        check_annotation(self.channel)

    @classmethod
    def of_region(cls, channel: Channel, region: Region) -> Iterable[Self]:
        """Return the volume of each time point of a region.

        Raises
        ------
        InvalidArgumentError
            The channel is no annotation channel, or the near-isotropic variant is meant, which is
            made from the labels and not painted.
        """
        check_annotation(channel)
        if region.neariso:
            raise InvalidArgumentError("Labels of a near-isotropic level are not indexed.")
        return (cls(channel, region.level, time_point) for time_point in range(*region.times))

    @classmethod
    def of_scope(cls, dataset: Dataset, channel: Channel, scope: LabelLayer) -> Self:
        """Return the volume that rows of the index speak of."""
        return cls(channel, dataset.pyramid.level(scope.resolution), scope.time_point)

    @property
    def scope(self) -> LabelLayer:
        """Where its rows of the index are."""
        return LabelLayer(self.channel.uid, self.level.resolution, self.time_point)

    @property
    def layout(self) -> CuboidLayout:
        """How its voxels lie in supercuboids."""
        return layout_of(self.channel, self.level)

    def place(self, code: int) -> SupercuboidPlace:
        """Return the place of a supercuboid by its Morton code."""
        return SupercuboidPlace(self.channel, self.level, self.time_point, code)

    def key(self, code: int) -> str:
        """Return the object key of a supercuboid by its Morton code."""
        return self.place(code).key

    @property
    def _slot_bits(self) -> int:
        return self.layout.slots.bit_length() - 1

    def supercuboid(self, cuboid_code: int) -> tuple[int, int]:
        """Return the supercuboid (Morton code) of a cuboid, and its slot in it."""
        return cuboid_code >> self._slot_bits, cuboid_code & (self.layout.slots - 1)

    def cuboid(self, code: int, slot: int) -> int:
        """Return the Morton code of a cuboid by its supercuboid (Morton code) and slot."""
        return code << self._slot_bits | slot

    def bucket(self, code: int) -> tuple[int, int]:
        """Return the bucket of a supercuboid, and the member that its slot 0 is there."""
        return split(self.cuboid(code, 0))

    def by_supercuboid(self, cuboid_codes: NDArray[np.uint64]) -> dict[int, list[int]]:
        """Return the slots of cuboids by their supercuboids, in the order given."""
        found: dict[int, list[int]] = {}
        for cuboid_code in cuboid_codes.tolist():
            code, slot = self.supercuboid(cuboid_code)
            found.setdefault(code, []).append(slot)
        return found

    def corner(self, code: int, slot: int) -> XYZ:
        """Return the first voxel of a cuboid."""
        x, y, z = morton.decode(self.cuboid(code, slot))
        cx, cy, cz = self.level.cuboid_xyz
        return x * cx, y * cy, z * cz

    def cells(self, box: Box) -> Box:
        """Return the box of cuboid indices that a box of voxels touches."""
        return grid.cell_range(box, self.level.cuboid_xyz)
