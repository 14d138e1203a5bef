"""Checks the voxels of uploaded objects before anything is written, and paints them in batches.

Coordinates are absolute in uploads and converted to zero-based here. Painting proceeds in pieces
that bound the memory it takes beside the body.

Uploads of many small objects, as synapse detectors send them, touch the same supercuboids again and
again. Painted one by one, each object reads and writes its supercuboids: 1000 objects in two
supercuboids took 14 seconds of work on files, and more than a minute of round trips on S3. So
consecutive small objects are painted as one batch, voxel by voxel in the order of the objects,
which has the same result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import (
    DataTypeMismatchError,
    InvalidArgumentError,
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
from ndlambda.wire.ramon.contract import AnnotationVoxels

MAX_BATCH_VOXELS: Final = 1 << 18
"""Maximum number of voxels of a batch; a larger object is painted by itself."""

_POINTS_A_PIECE: Final = 1 << 20
_BYTES_A_POINT: Final = 128
"""Coordinates, cuboids and their order, as 64-bit integers."""


class Painting(Protocol):
    """Checked voxels of one object at one resolution."""

    @property
    def volume(self) -> LabelVolume:
        """The volume to paint."""
        ...

    @property
    def count(self) -> int:
        """Number of voxels, repetitions included."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of memory that painting takes."""
        ...

    def points(self) -> NDArray[np.int64]:
        """Return the voxels: zero-based, shape (n, 3), columns x, y, z."""
        ...

    def touched(self) -> Iterator[TouchedSupercuboids]:
        """Iterate over the supercuboids that painting changes, possibly with repetitions."""
        ...

    def paint(self, labels: LabelService, label: int, discipline: Discipline) -> None:
        """Paint the voxels; idempotent."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class PointPainting:
    """A list of voxels in absolute coordinates."""

    volume: LabelVolume
    voxels_xyz: NDArray[np.integer]

    @property
    def count(self) -> int:
        """Number of voxels, repetitions included."""
        return len(self.voxels_xyz)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that painting takes."""
        return min(self.count, _POINTS_A_PIECE) * _BYTES_A_POINT

    def points(self) -> NDArray[np.int64]:
        """Return the voxels: zero-based, shape (n, 3), columns x, y, z."""
        return self._points(0, self.count)

    def touched(self) -> Iterator[TouchedSupercuboids]:
        """Iterate over the supercuboids that painting changes, possibly with repetitions."""
        volume = self.volume
        for points in self._pieces():
            yield from TouchedSupercuboids.by_points(
                volume.channel, volume.level, volume.time_point, points
            )

    def check(self) -> None:
        """Refuse voxels outside the image. Raises as ``LabelVolume.check_points``."""
        self.volume.check_points(self.voxels_xyz, self.volume.level.offset_xyz)

    def paint(self, labels: LabelService, label: int, discipline: Discipline) -> None:
        """Paint the voxels; idempotent."""
        for points in self._pieces():
            labels.paint_voxels(self.volume, points, label, discipline)

    def _pieces(self) -> Iterator[NDArray[np.int64]]:
        for start in range(0, self.count, _POINTS_A_PIECE):
            yield self._points(start, start + _POINTS_A_PIECE)

    def _points(self, start: int, stop: int) -> NDArray[np.int64]:
        points = self.voxels_xyz[start:stop].astype(np.int64)
        points -= self.volume.level.offset_xyz
        return points


@dataclass(frozen=True, slots=True, eq=False)
class BlockPainting:
    """The non-zero voxels of a block.

    Attributes
    ----------
    volume
        The volume to paint.
    box
        The smallest box around them, zero-based.
    mask_zyx
        Its part of the block, of any integer dtype.
    count
        Number of non-zero voxels.
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
        """Paint the voxels; idempotent."""
        for slab in self._slabs():
            mask = self.mask_zyx[slab.slices_zyx(self.box.start_xyz)]
            block = np.zeros((1, *slab.shape_zyx), self.volume.layout.dtype)
            block[0][mask != 0] = label
            labels.paint(self.volume.channel, self.region(slab), block, discipline)

    def region(self, box: Box) -> Region:
        """Return the region of a box at the time point of the volume."""
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
    """Plans the paintings of one upload.

    Attributes
    ----------
    dataset, channel
        The channel to paint, at its default time point.
    discipline
        How labels combine.
    service
        Checks size limits.
    """

    dataset: Dataset
    channel: Channel
    discipline: Discipline
    service: VolumeService

    def plan(self, data: AnnotationVoxels | None) -> Sequence[Painting]:
        """Return the paintings of an object, its list of voxels first; write nothing.

        Raises
        ------
        ResolutionNotFoundError
            The dataset has no such resolution.
        InvalidArgumentError
            A block has no corner, or is for a channel without exceptions with ``EXCEPTION``; or
            whole cuboids are sent, which can only be read.
        ShapeMismatchError, DataTypeMismatchError, OutOfBoundsError, PayloadTooLargeError
            The voxels do not fit.
        """
        if data is None:
            return ()
        if data.cuboids:
            raise InvalidArgumentError(
                "CUBOIDS can be read but not uploaded; send CUTOUT or VOXELS."
            )
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
            raise ShapeMismatchError(f"A CUTOUT is z, y, x; this has shape {cutout_zyx.shape}.")
        if cutout_zyx.dtype.kind not in "uib":
            raise DataTypeMismatchError(f"A CUTOUT holds integers, not {cutout_zyx.dtype}.")
        if self.discipline is Discipline.EXCEPTION and not self.channel.exceptions:
            # Lists of voxels leave other labels alone there, as in ndstore.
            raise InvalidArgumentError(f"Channel {self.channel.name!r} has no exceptions.")
        (x, y, z), (dx, dy, dz) = corner_xyz, volume.level.offset_xyz
        corner = (x - dx, y - dy, z - dz)
        # Zeros paint nothing, so they may exceed the image's edge, as whole cuboids do.
        box = mask_box(cutout_zyx != 0, corner)
        if box is None:
            return None
        mask = cutout_zyx[box.slices_zyx(corner)]
        block = BlockPainting(volume, box, mask, int(np.count_nonzero(mask)))
        self.service.check_size(block.region(box), self.channel)
        return block


@dataclass(frozen=True, slots=True)
class Batch:
    """Paintings that are painted together.

    Attributes
    ----------
    paintings
        With the index of the object of each, in the order of painting.
    """

    paintings: tuple[tuple[int, Painting], ...]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that painting takes."""
        if len(self.paintings) == 1:
            return self.paintings[0][1].nbytes
        return sum(painting.count for _, painting in self.paintings) * _BYTES_A_POINT

    @property
    def supercuboids(self) -> int:
        """Number of supercuboids that painting changes."""
        found: dict[int, set[int]] = {}
        for _, painting in self.paintings:
            for touched in painting.touched():
                found.setdefault(touched.resolution, set()).update(touched.codes)
        return sum(map(len, found.values()))

    def paint(self, labels: LabelService, ids: Sequence[int], discipline: Discipline) -> None:
        """Paint the objects with these ids; idempotent."""
        if len(self.paintings) == 1:
            ((index, painting),) = self.paintings
            painting.paint(labels, ids[index], discipline)
            return
        # Volumes share no voxel, so only the order in each matters.
        for volume in dict.fromkeys(painting.volume for _, painting in self.paintings):
            own = [each for each in self.paintings if each[1].volume == volume]
            names = np.array([ids[index] for index, _ in own], volume.layout.dtype)
            points = [painting.points() for _, painting in own]
            each = np.repeat(names, [len(part) for part in points])
            labels.paint_voxels(volume, np.concatenate(points), each, discipline)


def plan_batches(paintings: Sequence[Sequence[Painting]], max_voxels: int) -> list[Batch]:
    """Group the paintings of objects into batches, in the order of the objects.

    Parameters
    ----------
    paintings
        Of each object.
    max_voxels
        Voxels that one call may paint.
    """
    found: list[list[tuple[int, Painting]]] = []
    limit, room = min(max_voxels, MAX_BATCH_VOXELS), 0
    for index, several in enumerate(paintings):
        for painting in several:
            if not found or painting.count > room:
                found.append([])
                room = limit
            found[-1].append((index, painting))
            room -= painting.count
    return [Batch(tuple(batch)) for batch in found]
