"""Selects the labels that one resolution shows: those stored there, or another level zoomed.

The rule is that of cutouts (``VolumeService.read``), for each supercuboid. A stored one is shown.
Where none is stored, the channel's own resolution is shown: always magnified at finer resolutions;
thinned at coarser ones (every 2^k-th voxel, no vote) until the channel's propagation begins. x and
y are zoomed, z on isotropic data, too. Zoomed labels end at the edge of the image; labels painted
outside of it are visible only at the resolution at which they were painted.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.propagation import PropagateState
from ndlambda.services.labels.bounding_box import mask_box
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.space.box import XYZ, Box
from ndlambda.space.grid import cover
from ndlambda.space.pyramid import Level
from ndlambda.voxels.zoom import shown_box, source_axes, source_box

AxesZYX: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]


def zoomed_level(dataset: Dataset, channel: Channel, level: Level) -> Level | None:
    """Return the level that is shown where a level has nothing stored, None if there is none."""
    finer_by = channel.resolution - level.resolution
    if finer_by > 0 or (finer_by < 0 and channel.propagate == PropagateState.NOT_PROPAGATED):
        return dataset.pyramid.level(channel.resolution)
    return None


def _admit_all(_supercuboids: int) -> None:
    """Admit all reads."""


@dataclass(frozen=True, slots=True)
class LabelView:
    """One resolution of labels at one time point, as readers see it.

    Attributes
    ----------
    volume
        The requested resolution.
    base
        The one shown where nothing is stored; None: nothing is shown there.
    admit_reads
        Called with a number of supercuboids before they are read; may refuse.
    """

    volume: LabelVolume
    base: LabelVolume | None = None
    admit_reads: Callable[[int], None] = field(default=_admit_all, compare=False)

    @classmethod
    def of(cls, dataset: Dataset, channel: Channel, level: Level, time_point: int) -> Self:
        """Return the view of a level of a dataset.

        Raises
        ------
        InvalidArgumentError
            The channel is not an annotation channel.
        """
        base = zoomed_level(dataset, channel, level)
        return cls(
            LabelVolume(channel, level, time_point),
            None if base is None else LabelVolume(channel, base, time_point),
        )


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """Stored labels that a resolution shows.

    Attributes
    ----------
    volume
        Where they are stored.
    shown
        Where they are shown; equal to ``volume`` if they are not zoomed.
    hidden
        Returns whether a supercuboid of ``shown`` (Morton code) is stored itself, which hides
        zoomed labels; None: none is.
    """

    volume: LabelVolume
    shown: LabelVolume
    hidden: Callable[[int], bool] | None = None

    @property
    def is_zoomed(self) -> bool:
        """Whether one resolution is shown at another."""
        return self.volume != self.shown

    @property
    def magnification(self) -> int:
        """Maximum number of voxels that show one stored voxel."""
        finer_by = self.volume.level.resolution - self.shown.level.resolution
        return 1 << 3 * max(0, finer_by)

    def source_box(self, box: Box) -> Box:
        """Return a box of stored voxels that contains all that a box shows."""
        return source_box(box, self.shown.level, self.volume.level) if self.is_zoomed else box

    def shown_box(self, box: Box, within: Box | None) -> Box | None:
        """Return the voxels (in a box) that show a box of stored ones, hidden ones included."""
        shown: Box | None = box
        if self.is_zoomed:
            shown = shown_box(box, self.shown.level, self.volume.level)
        return shown if shown is None or within is None else shown.intersection(within)

    def parts(self, box: Box) -> Iterator[Box]:
        """Yield the parts of a box of shown voxels, one a supercuboid, that are not hidden."""
        for cell in cover(box, self.shown.layout.supercuboid_xyz):
            if self.hidden is None or not self.hidden(cell.code):
                yield cell.part

    def axes(self, part: Box, corner_xyz: XYZ) -> AxesZYX:
        """Return the stored voxels that a box shows, along z, y, x, relative to a corner."""
        if self.is_zoomed:
            x, y, z = source_axes(part, self.shown.level, self.volume.level, centre=False)
        else:  # the part may lie outside the image
            x, y, z = (np.arange(*ends) for ends in zip(part.start_xyz, part.stop_xyz, strict=True))
        return z - corner_xyz[2], y - corner_xyz[1], x - corner_xyz[0]


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPart:
    """A part of an object at one resolution, kept at the size of the stored voxels.

    Attributes
    ----------
    box
        The part, in shown voxels.
    grain
        bool (z, y, x): whether each stored voxel belongs to the object.
    repeats_zyx
        Number of shown voxels for each index of ``grain``, along each axis.
    """

    box: Box
    grain: NDArray[np.bool_]
    repeats_zyx: AxesZYX

    @classmethod
    def of(cls, mask: NDArray[np.bool_], axes: AxesZYX, box: Box) -> Self:
        """Return the part of an object in a box whose voxels show the mask at ``axes``."""
        zs, ys, xs = (np.unique(axis, return_counts=True) for axis in axes)
        return cls(box, mask[np.ix_(zs[0], ys[0], xs[0])], (zs[1], ys[1], xs[1]))

    @property
    def count(self) -> int:
        """The number of shown voxels of the object."""
        z, y, x = self.repeats_zyx
        return int(self.grain @ x @ y @ z)

    @property
    def tight_box(self) -> Box | None:
        """The exact box of the object's shown voxels, None if it has none."""
        found = mask_box(self.grain, (0, 0, 0))
        if found is None:
            return None
        starts, stops = [], []
        for axis, repeats in enumerate(reversed(self.repeats_zyx)):
            edges = np.append(0, np.cumsum(repeats)) + self.box.start_xyz[axis]
            starts.append(int(edges[found.start_xyz[axis]]))
            stops.append(int(edges[found.stop_xyz[axis]]))
        return Box((starts[0], starts[1], starts[2]), (stops[0], stops[1], stops[2]))

    def mask(self) -> NDArray[np.bool_]:
        """Return the mask (z, y, x) of the box: which voxels belong to the object."""
        mask = self.grain
        for axis, repeats in enumerate(self.repeats_zyx):
            if mask.shape[axis] != repeats.sum():
                mask = np.repeat(mask, repeats, axis)
        return mask

    def points(self) -> NDArray[np.uint32]:
        """Return the object's voxels in the box in C order: (n, 3), columns x, y, z."""
        return (np.argwhere(self.mask())[:, ::-1] + self.box.start_xyz).astype(np.uint32)
