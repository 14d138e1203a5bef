"""What an uploaded object paints: looked at before anything is written, and painted in pieces.

Coordinates come absolute and are taken into the volume here; pieces bound the memory that painting
takes beside the body.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import (
    DataTypeMismatchError,
    InvalidArgumentError,
    OutOfBoundsError,
    ShapeMismatchError,
)
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.discipline import Discipline
from ndlambda.services.labels.bounding_box import mask_box
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.service import LabelService
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService
from ndlambda.services.volume.touched import TouchedSupercuboids
from ndlambda.space.box import XYZ, Box
from ndlambda.space.morton import AXIS_LIMIT
from ndlambda.wire.ramon.contract import AnnotationVoxels

_POINTS_AT_ONCE: Final = 1 << 20
BYTES_A_POINT: Final = 128
"""Coordinates, cuboids and their order, as 64-bit integers."""


class Painting(Protocol):
    """Voxels of one object at one resolution, found to be in order."""

    @property
    def volume(self) -> LabelVolume:
        """Where they are."""
        ...

    @property
    def count(self) -> int:
        """How many there are, repetitions counted."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory that painting takes."""
        ...

    def points(self) -> NDArray[np.int64]:
        """Return the voxels: zero-based, shape (n, 3), columns x, y, z."""
        ...

    def touched(self) -> Iterator[TouchedSupercuboids]:
        """Iterate over the supercuboids that painting changes; some may come again."""
        ...

    def paint(self, labels: LabelService, label: int, discipline: Discipline) -> None:
        """Paint the voxels. May be repeated."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class PointPainting:
    """A list of voxels, absolute."""

    volume: LabelVolume
    voxels_xyz: NDArray[np.integer]

    @property
    def count(self) -> int:
        """How many there are, repetitions counted."""
        return len(self.voxels_xyz)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that painting takes."""
        return min(self.count, _POINTS_AT_ONCE) * BYTES_A_POINT

    def points(self) -> NDArray[np.int64]:
        """Return the voxels: zero-based, shape (n, 3), columns x, y, z."""
        return self._points(0, self.count)

    def touched(self) -> Iterator[TouchedSupercuboids]:
        """Iterate over the supercuboids that painting changes; some may come again."""
        volume = self.volume
        for some in self._pieces():
            yield from TouchedSupercuboids.by_points(
                volume.channel, volume.level, volume.time_point, some
            )

    def check(self) -> None:
        """Make sure that the voxels can be painted; they may lie outside the image, as in ndstore.

        Raises
        ------
        ShapeMismatchError, DataTypeMismatchError, OutOfBoundsError
            They cannot.
        """
        voxels = self.voxels_xyz
        if voxels.ndim != 2 or voxels.shape[1] != 3:
            raise ShapeMismatchError(
                f"Voxels have three columns x, y, z; these have the shape {voxels.shape}."
            )
        if voxels.dtype.kind not in "ui":
            raise DataTypeMismatchError(f"Voxels are integers, not {voxels.dtype}.")
        if not len(voxels):
            return
        offset = self.volume.level.offset_xyz
        lowest, highest = voxels.min(axis=0).tolist(), voxels.max(axis=0).tolist()
        for axis, first, least, most in zip("xyz", offset, lowest, highest, strict=True):
            if not first <= least <= most < first + AXIS_LIMIT:
                raise OutOfBoundsError(
                    f"Voxels have {axis} from {least} to {most}; at resolution "
                    f"{self.volume.level.resolution} it is from {first}, the dataset's offset, to "
                    f"{first + AXIS_LIMIT - 1}.",
                    offset_xyz=offset,
                    limit=AXIS_LIMIT,
                )

    def paint(self, labels: LabelService, label: int, discipline: Discipline) -> None:
        """Paint the voxels. May be repeated."""
        for some in self._pieces():
            labels.paint_voxels(self.volume, some, label, discipline)

    def _pieces(self) -> Iterator[NDArray[np.int64]]:
        for start in range(0, self.count, _POINTS_AT_ONCE):
            yield self._points(start, start + _POINTS_AT_ONCE)

    def _points(self, start: int, stop: int) -> NDArray[np.int64]:
        some = self.voxels_xyz[start:stop].astype(np.int64)
        some -= self.volume.level.offset_xyz
        return some


@dataclass(frozen=True, slots=True, eq=False)
class BlockPainting:
    """The voxels of a block that are not 0.

    Attributes
    ----------
    volume
        Where.
    box
        The smallest box around them, zero-based.
    mask_zyx
        Its part of the block, of any integer dtype.
    count
        How many voxels of it are not 0.
    """

    volume: LabelVolume
    box: Box
    mask_zyx: NDArray[Any]
    count: int

    @property
    def nbytes(self) -> int:
        """Bytes of memory that painting takes."""
        x, y, z = self.box.shape_xyz
        depth = min(z, self.volume.layout.supercuboid_xyz[2])
        return x * y * depth * (self.volume.layout.dtype.itemsize + 1)

    def points(self) -> NDArray[np.int64]:
        """Return the voxels: zero-based, shape (n, 3), columns x, y, z."""
        points: NDArray[np.int64] = np.argwhere(self.mask_zyx)[:, ::-1] + self.box.start_xyz
        return points

    def touched(self) -> Iterator[TouchedSupercuboids]:
        """Iterate over the supercuboids that painting changes, zeros between voxels included."""
        return TouchedSupercuboids.by_region(self.volume.channel, self.region(self.box))

    def paint(self, labels: LabelService, label: int, discipline: Discipline) -> None:
        """Paint the voxels. May be repeated."""
        for slab in self._slabs():
            mask = self.mask_zyx[slab.slices_zyx(self.box.start_xyz)]
            block = np.zeros((1, *slab.shape_zyx), self.volume.layout.dtype)
            block[0][mask != 0] = label
            labels.paint(self.volume.channel, self.region(slab), block, discipline)

    def region(self, box: Box) -> Region:
        """Return a box at the time point of the volume."""
        time_point = self.volume.time_point
        return Region(self.volume.level, box, (time_point, time_point + 1))

    def _slabs(self) -> Iterator[Box]:
        """Yield the box in slabs of one layer of supercuboids, so that none is written twice."""
        depth = self.volume.layout.supercuboid_xyz[2]
        (x0, y0, z), (x1, y1, stop) = self.box.start_xyz, self.box.stop_xyz
        while z < stop:
            end = min((z // depth + 1) * depth, stop)
            yield Box((x0, y0, z), (x1, y1, end))
            z = end


@dataclass(frozen=True, slots=True)
class Painter:
    """Plans what objects of one upload paint.

    Attributes
    ----------
    dataset, channel
        Where; voxels go to the channel's default time point.
    discipline
        How.
    service
        Knows how much may be written at once.
    """

    dataset: Dataset
    channel: Channel
    discipline: Discipline
    service: VolumeService

    def plan(self, data: AnnotationVoxels | None) -> Sequence[Painting]:
        """Return what an object paints, its list of voxels first; nothing is written.

        Raises
        ------
        ResolutionNotFoundError
            The dataset has no such resolution.
        InvalidArgumentError
            A block comes without its corner, or with ``EXCEPTION`` to a channel without
            exceptions; or whole cuboids come, which are only given.
        ShapeMismatchError, DataTypeMismatchError, OutOfBoundsError, PayloadTooLargeError
            The voxels do not fit.
        """
        if data is None:
            return ()
        if data.cuboids:
            raise InvalidArgumentError("CUBOIDS are given and not taken; send CUTOUT or VOXELS.")
        level = self.dataset.pyramid.level(data.resolution)
        volume = LabelVolume(self.channel, level, self.channel.default_time)
        paintings: list[Painting] = []
        if data.voxels_xyz is not None:
            points = PointPainting(volume, data.voxels_xyz)
            points.check()
            self.service.check_voxels(len(points.voxels_xyz))
            paintings.append(points)
        if data.cutout_zyx is not None:
            if data.corner_xyz is None:
                raise InvalidArgumentError("A CUTOUT needs its corner, XYZOFFSET.")
            block = self._plan_block(volume, data.corner_xyz, data.cutout_zyx)
            if block is not None:
                paintings.append(block)
        return paintings

    def _plan_block(
        self, volume: LabelVolume, corner_xyz: XYZ, cutout_zyx: NDArray[Any]
    ) -> BlockPainting | None:
        if cutout_zyx.ndim != 3:
            raise ShapeMismatchError(f"A CUTOUT is z, y, x; this has the shape {cutout_zyx.shape}.")
        if cutout_zyx.dtype.kind not in "uib":
            raise DataTypeMismatchError(f"A CUTOUT holds integers, not {cutout_zyx.dtype}.")
        if self.discipline is Discipline.EXCEPTION and not self.channel.exceptions:
            # Lists of voxels leave other labels alone there, as in ndstore.
            raise InvalidArgumentError(f"Channel {self.channel.name!r} keeps no exceptions.")
        (x, y, z), (dx, dy, dz) = corner_xyz, volume.level.offset_xyz
        corner = (x - dx, y - dy, z - dz)
        # Zeros paint nothing, so they may reach over the image's edge, as whole cuboids do.
        box = mask_box(cutout_zyx != 0, corner)
        if box is None:
            return None
        mask = cutout_zyx[box.slices_zyx(corner)]
        block = BlockPainting(volume, box, mask, int(np.count_nonzero(mask)))
        self.service.check_size(block.region(box))
        return block
