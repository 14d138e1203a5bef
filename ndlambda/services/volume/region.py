"""The region of a request, and the keys and layout of its supercuboids."""

from dataclasses import dataclass

from ndlambda.cuboids.layout import CuboidLayout
from ndlambda.errors import OutOfBoundsError
from ndlambda.model.catalog import Channel
from ndlambda.space.box import Box
from ndlambda.space.grid import cell_count
from ndlambda.space.pyramid import Level


@dataclass(frozen=True, slots=True)
class Region:
    """A box of one resolution at some time points.

    Attributes
    ----------
    level
        The resolution's geometry.
    box
        Zero-based voxels of that resolution.
    times
        Half-open range of time points.
    neariso
        Whether the box is in the near-isotropic variant of the level.
    """

    level: Level
    box: Box
    times: tuple[int, int]
    neariso: bool = False

    @property
    def bounds(self) -> Box:
        """The whole level (or its near-isotropic variant), zero-based."""
        if self.neariso:
            return Box((0, 0, 0), self.level.neariso_imagesize_xyz)
        return self.level.box

    @property
    def shape_tzyx(self) -> tuple[int, int, int, int]:
        """The shape of the region's array."""
        return (self.times[1] - self.times[0], *self.box.shape_zyx)

    @property
    def voxels(self) -> int:
        """The number of voxels of one channel."""
        return (self.times[1] - self.times[0]) * self.box.voxels

    @property
    def cuboids(self) -> int:
        """The number of cuboids of one channel that intersect the region."""
        return (self.times[1] - self.times[0]) * cell_count(self.box, self.level.cuboid_xyz)

    def supercuboids(self, channel: Channel) -> int:
        """Return the number of supercuboids of a channel that intersect the region."""
        edges = layout_of(channel, self.level).supercuboid_xyz
        return (self.times[1] - self.times[0]) * cell_count(self.box, edges)

    def check(self) -> None:
        """Refuse a region that exceeds the volume.

        Raises
        ------
        OutOfBoundsError
        """
        if not self.box.within(self.bounds) or not 0 <= self.times[0] < self.times[1]:
            offset = self.level.offset_xyz
            box, bounds = self.box.shifted(offset), self.bounds.shifted(offset)
            raise OutOfBoundsError(
                f"The box {box.start_xyz} to {box.stop_xyz} (x, y, z) leaves the volume, which at "
                f"resolution {self.level.resolution} is from {bounds.start_xyz} to "
                f"{bounds.stop_xyz}, or its time range is empty.",
                offset_xyz=offset,
                size_xyz=self.bounds.stop_xyz,
                resolution=self.level.resolution,
            )


def layout_of(channel: Channel, level: Level) -> CuboidLayout:
    """Return the layout of a channel's supercuboids of one level."""
    return CuboidLayout(channel.dtype, level.cuboid_xyz, channel.cuboids_per_axis, channel.codec)


def object_prefix(channel: Channel, region: Region, time_point: int) -> str:
    """Return the key prefix of all supercuboids of one level at one time point."""
    variant = "n" if region.neariso else ""
    return (
        f"{channel.project}/{channel.name}/{channel.uid}/{region.level.resolution}{variant}"
        f"/{time_point}/"
    )


def object_key(channel: Channel, region: Region, time_point: int, code: int) -> str:
    """Return the key of a supercuboid: ``project/channel/uid/resolution/time/morton``."""
    return f"{object_prefix(channel, region, time_point)}{code:016x}"
