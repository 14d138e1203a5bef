"""Addresses the supercuboids of one resolution of an annotation channel at one time point."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.layout import CuboidLayout
from ndlambda.errors import (
    DataTypeMismatchError,
    InvalidArgumentError,
    OutOfBoundsError,
    ShapeMismatchError,
)
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.labels.index import LabelLayer, split
from ndlambda.services.volume.place import SupercuboidPlace
from ndlambda.services.volume.region import Region, layout_of
from ndlambda.space import grid, morton
from ndlambda.space.box import XYZ, Box
from ndlambda.space.pyramid import Level


def check_annotation(channel: Channel) -> None:
    """Refuse a channel whose voxels are not labels.

    Raises
    ------
    InvalidArgumentError
    """
    if not channel.is_annotation:
        raise InvalidArgumentError(
            f"Channel {channel.name!r} is not an annotation channel.", channel=channel.name
        )


@dataclass(frozen=True, slots=True)
class LabelVolume:
    """One resolution of an annotation channel at one time point.

    Raises
    ------
    InvalidArgumentError
        The channel is not an annotation channel.
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
            The channel is not an annotation channel, or the region is near-isotropic, which is
            built from labels and not painted.
        """
        check_annotation(channel)
        if region.neariso:
            raise InvalidArgumentError("Labels of a near-isotropic level are not indexed.")
        return (cls(channel, region.level, time_point) for time_point in range(*region.times))

    @classmethod
    def of_scope(cls, dataset: Dataset, channel: Channel, scope: LabelLayer) -> Self:
        """Return the volume of a layer of the index."""
        return cls(channel, dataset.pyramid.level(scope.resolution), scope.time_point)

    def check_points(self, points_xyz: NDArray[np.integer], first_xyz: XYZ = (0, 0, 0)) -> None:
        """Refuse a list that is no list of voxels of this volume.

        ndstore painted listed voxels outside the image, but refused blocks there; here both are
        refused.

        Parameters
        ----------
        points_xyz
            Shape (n, 3), columns x, y, z.
        first_xyz
            Coordinates of the first voxel of the image: its offset if they are absolute.

        Raises
        ------
        ShapeMismatchError, DataTypeMismatchError
            It has another shape, or no integers.
        OutOfBoundsError
            A voxel is outside the image; the first one is named.
        """
        if points_xyz.ndim != 2 or points_xyz.shape[1] != 3:
            raise ShapeMismatchError(
                f"Voxels have three columns x, y, z; these have shape {points_xyz.shape}."
            )
        if points_xyz.dtype.kind not in "ui":
            raise DataTypeMismatchError(f"Voxels are integers, not {points_xyz.dtype}.")
        image = Box.at(first_xyz, self.level.imagesize_xyz)
        outside = np.zeros(len(points_xyz), np.bool_)
        for column, start, stop in zip(points_xyz.T, image.start_xyz, image.stop_xyz, strict=True):
            outside |= (column < start) | (column >= stop)
        if outside.any():
            index = int(outside.argmax())
            raise OutOfBoundsError(
                f"The voxel {tuple(points_xyz[index].tolist())} (x, y, z) is outside the image, "
                f"which at resolution {self.level.resolution} is from {image.start_xyz} to "
                f"{image.stop_xyz}.",
                index=index,
                offset_xyz=image.start_xyz,
                size_xyz=image.shape_xyz,
                resolution=self.level.resolution,
            )

    @property
    def scope(self) -> LabelLayer:
        """The layer of its index rows."""
        return LabelLayer(self.channel.uid, self.level.resolution, self.time_point)

    @property
    def layout(self) -> CuboidLayout:
        """The layout of its supercuboids."""
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
        """Return the supercuboid (Morton code) of a cuboid and its slot there."""
        return cuboid_code >> self._slot_bits, cuboid_code & (self.layout.slots - 1)

    def cuboid(self, code: int, slot: int) -> int:
        """Return the Morton code of a cuboid, given its supercuboid (Morton code) and slot."""
        return code << self._slot_bits | slot

    def bucket(self, code: int) -> tuple[int, int]:
        """Return the bucket of a supercuboid and the member of its slot 0."""
        return split(self.cuboid(code, 0))

    def by_supercuboid(self, cuboid_codes: NDArray[np.uint64]) -> dict[int, list[int]]:
        """Group cuboids into slots by supercuboid, in the given order."""
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
        """Return the box of cuboid indices that intersect a box of voxels."""
        return grid.cell_range(box, self.level.cuboid_xyz)
