"""Builds supercuboids of coarser levels from those of finer ones.

A build traverses the tree below a root depth first (see ``space.ancestry``): each source is read
once, each result is written once, and at most one partly filled supercuboid a level is in memory.

Builders may run twice, late, and concurrently with writers, and still an older state of the sources
never replaces a newer one. For each target supercuboid, a builder

1. gets its ETag (or learns that it does not exist);
2. then lists and reads (or builds) its sources;
3. then writes it conditionally on step 1, and starts again if the condition fails.

So everything a builder writes was read after the last write that it replaces. Two more rules
follow. A builder writes even if the voxels are unchanged: the new write-id makes the conditional
writes of builders that read earlier fail. And it writes an empty object where sources are stored
but yield zero: an older builder may have read voxels there that were erased since. It writes
nothing only where no source is stored, and so none ever was.

Labels are written by ``LabelPainter``, whose order includes steps 1 and 3, so the index of every
level agrees with its cuboids. Labels of near-isotropic variants are not indexed and are written
like images.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids import supercuboid
from ndlambda.cuboids.coarse_block import CoarseBlock, Halving
from ndlambda.cuboids.label_block import Change, LabelBlock
from ndlambda.errors import InvalidArgumentError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.painter import LabelPainter
from ndlambda.services.volume.occupancy import stored_codes
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.place import SupercuboidPlace, read_stored
from ndlambda.services.volume.region import Region, layout_of
from ndlambda.services.volume.replacement import HEAD, Replacement
from ndlambda.space.ancestry import Ancestry, has_neariso
from ndlambda.space.box import Box
from ndlambda.stores.ports import ObjectStore
from ndlambda.voxels.downsample import Method

_Cuboids: TypeAlias = Mapping[int, NDArray[Any]]
"""Slot to voxels (z, y, x); missing cuboids are zero."""


@dataclass(frozen=True, slots=True)
class PyramidNode:
    """One supercuboid of a pyramid.

    Attributes
    ----------
    resolution, time_point
        Its level and time point.
    code
        Its Morton code.
    neariso
        Whether it belongs to the near-isotropic variant of the level.
    """

    resolution: int
    time_point: int
    code: int
    neariso: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """Counts of a build; repeated work counts again.

    Attributes
    ----------
    objects_read
        Source supercuboids read; reading an ETag does not count.
    objects_written
        Supercuboids written.
    voxels_read
        Voxels of the volume in the stored cuboids of the sources.
    """

    objects_read: int = 0
    objects_written: int = 0
    voxels_read: int = 0


class PyramidBuilder:
    """Builds supercuboids in the calling thread, with the guarantees of the module docstring.

    Parameters
    ----------
    objects
        The store of supercuboids.
    painter
        Changes supercuboids of labels.
    options
        Retry limits and write-ids.
    """

    def __init__(self, objects: ObjectStore, painter: LabelPainter, options: VolumeOptions) -> None:
        self._objects = objects
        self._painter = painter
        self._options = options

    def build(
        self, dataset: Dataset, channel: Channel, root: PyramidNode, depth: int, method: Method
    ) -> Built:
        """Build a supercuboid and all below it, down to the level above its sources.

        Each is replaced as a whole: voxels without sources become zero, and extra labels are
        removed. Idempotent.

        Parameters
        ----------
        dataset, channel
            The channel and its dataset.
        root
            The coarsest supercuboid.
        depth
            How many levels finer its sources are; 1 for a near-isotropic variant, whose sources
            are in the plain level below.
        method
            See ``method_of``.

        Raises
        ------
        InvalidArgumentError
            The sources would be finer than the channel, the level has no near-isotropic variant,
            or the method does not fit the channel.
        ResolutionNotFoundError
            The dataset has no such level.
        CuboidDecodeError
            A source, or a supercuboid of labels to be replaced, is damaged.
        WriteContentionError
            The conditional write of a supercuboid kept failing for too long.
        """
        level = dataset.pyramid.level(root.resolution)
        if root.resolution - depth < channel.resolution or depth < 1:
            raise InvalidArgumentError(
                f"Level {root.resolution} of channel {channel.name!r} cannot be built from "
                f"{depth} levels below; its own level is {channel.resolution}."
            )
        if root.neariso and (depth != 1 or not has_neariso(level)):
            raise InvalidArgumentError(
                f"Level {root.resolution} has no near-isotropic variant, or depth is {depth}; a "
                "near-isotropic variant is built from one level below."
            )
        if (method is Method.LABELS) is not channel.is_annotation:
            raise InvalidArgumentError(
                f"Channel {channel.name!r} is not propagated by method {method.value!r}."
            )
        build = _Build(self._objects, self._painter, self._options, dataset, channel, method)
        build.build(root, depth)
        return Built(build.objects_read, build.objects_written, build.voxels_read)


@dataclass(slots=True)
class _Build:
    """One call of ``PyramidBuilder.build`` with its counts."""

    objects: ObjectStore
    painter: LabelPainter
    options: VolumeOptions
    dataset: Dataset
    channel: Channel
    method: Method
    objects_read: int = 0
    objects_written: int = 0
    voxels_read: int = 0

    @property
    def ancestry(self) -> Ancestry:
        return Ancestry(self.dataset.pyramid, self.channel.cuboids_per_axis)

    def build(self, node: PyramidNode, depth: int) -> _Cuboids | None:
        """Build a node and all below it; return its cuboids, None if it is not stored."""
        if self.channel.is_annotation and not node.neariso:
            return self._paint(node, depth)
        return self._put(node, depth)

    def _put(self, node: PyramidNode, depth: int) -> _Cuboids | None:
        place = self._place(node)
        layout = layout_of(self.channel, place.level)
        made: _Cuboids | None = None
        replacement = Replacement(self.objects, place, self.options)
        for stored in replacement.attempts(HEAD):
            made = self._gather(node, depth)
            if made is None and stored is None:
                return None
            made = made or {}
            replacement.put(stored, partial(supercuboid.splice, None, layout, made))
        self.objects_written += 1
        return made

    def _paint(self, node: PyramidNode, depth: int) -> _Cuboids | None:
        made: _Cuboids | None = None

        def edit(block: LabelBlock) -> Change:
            nonlocal made
            made = self._gather(node, depth)
            if made is None and not block.is_stored:
                return Change()
            made = made or {}
            return block.replaced(made)

        volume = LabelVolume(self.channel, self._region(node).level, node.time_point)
        self.painter.edit(volume, node.code, edit)
        self.objects_written += made is not None
        return made

    def _gather(self, node: PyramidNode, depth: int) -> _Cuboids | None:
        """Downsample the stored sources of a node; return None if there are none."""
        block = CoarseBlock(self._halving(node), node.code)
        found = False
        for child in self._children(node, depth):
            if depth > 1:
                cuboids = self.build(child, depth - 1)
                if cuboids is not None:
                    found = True
                    block.add(child.code, cuboids.items())
                continue
            place = self._place(child)
            stored = read_stored(self.objects, place)
            if stored is not None:
                found = True
                self.objects_read += 1
                fine = layout_of(self.channel, self._region(child).level)
                with place.named_in_errors():
                    present = supercuboid.present_cuboids(stored.data, fine)
                    self.voxels_read += block.add(child.code, present)
        return block.cuboids if found else None

    def _children(self, node: PyramidNode, depth: int) -> Iterator[PyramidNode]:
        """Yield the children that may be stored, in Morton order.

        Direct sources are requested one by one: on S3, a GET of a missing object costs a twelfth
        of a listing. Across several levels, listings exclude children below which nothing is
        stored, neither a source nor the result of an earlier build.
        """
        codes = self.ancestry.children(node.resolution, node.code, neariso=node.neariso)
        wanted = self._occupied(node, depth) if depth > 1 else set(codes)
        for code in codes:
            if code in wanted:
                yield PyramidNode(node.resolution - 1, node.time_point, code)

    def _occupied(self, node: PyramidNode, depth: int) -> set[int]:
        """Return the Morton codes of supercuboids one level down with stored descendants."""
        occupied: set[int] = set()
        for below in range(1, depth + 1):
            source = PyramidNode(node.resolution - below, node.time_point, 0)
            codes = self.ancestry.descendant_codes(node.resolution, node.code, below)
            found = stored_codes(
                self.objects, self.channel, self._region(source), node.time_point, codes
            )
            array = np.fromiter(found, np.uint64)
            roots = self.ancestry.roots(source.resolution, array, below - 1)
            occupied.update(roots.tolist())
        return occupied

    def _halving(self, node: PyramidNode) -> Halving:
        region = self._region(node)
        below = self.dataset.pyramid.level(node.resolution - 1)
        factors = self.ancestry.step(node.resolution, neariso=node.neariso).factors_xyz
        bounds: Box | None = below.box
        if node.neariso:  # the variant may have fewer slices than the level below
            x, y, z = below.imagesize_xyz
            bounds = Box((0, 0, 0), (x, y, min(z, region.bounds.stop_xyz[2] * 2)))
        elif self.method is Method.LABELS:
            bounds = None
        return Halving(
            fine=layout_of(self.channel, below),
            coarse=layout_of(self.channel, region.level),
            factors_xyz=factors,
            method=self.method,
            bounds=bounds,
            zero_is_missing_z=node.neariso,
        )

    def _region(self, node: PyramidNode) -> Region:
        level = self.dataset.pyramid.level(node.resolution)
        times = (node.time_point, node.time_point + 1)
        return Region(level, level.box, times, node.neariso)

    def _place(self, node: PyramidNode) -> SupercuboidPlace:
        level = self.dataset.pyramid.level(node.resolution)
        return SupercuboidPlace(self.channel, level, node.time_point, node.code, node.neariso)
