"""Builds supercuboids of coarser levels from those of finer ones.

A build goes through the tree below a root depth first (see ``space.ancestry``), so a source is read
once, what is made is put once, and in memory is no more than one partly filled supercuboid a level.

Builders may run twice, late, and beside writers, and still an older state of the sources never
replaces a newer one. Of each supercuboid that is made a builder

1. gets the ETag (or learns that there is none);
2. then looks which sources there are, and reads (or makes) them;
3. then puts, on condition of step 1, and on a lost condition begins again.

So whatever a builder puts was read after the last put that it replaces. That asks for two things
more. A builder that finds the very voxels that are there puts them all the same: a new write-id is
what stops the older builders that have read before it. And it puts an empty object where its
sources are stored but give zero: an older builder may have seen voxels there that were erased
since. Only where no source is stored, and so none ever was, is nothing put.

Labels go through ``LabelPainter``, whose order has steps 1 and 3, so that the index of every level
holds what its cuboids hold. Labels of near-isotropic variants are not indexed and are put like
images.
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
"""Slot to voxels (z, y, x); cuboids that are missing are zero."""


@dataclass(frozen=True, slots=True)
class PyramidNode:
    """One supercuboid of a pyramid.

    Attributes
    ----------
    resolution, time_point
        Where it is.
    code
        Its Morton code.
    neariso
        Whether it is one of the near-isotropic variant of the level.
    """

    resolution: int
    time_point: int
    code: int
    neariso: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """What a build did; what had to be done again counts again.

    Attributes
    ----------
    objects_read
        Source supercuboids that were there and read; a look at an ETag is none.
    objects_written
        Supercuboids put.
    voxels_read
        Voxels of the volume in the stored cuboids of the sources.
    """

    objects_read: int = 0
    objects_written: int = 0
    voxels_read: int = 0


class PyramidBuilder:
    """Builds supercuboids, in the calling thread; the module says what holds.

    Parameters
    ----------
    objects
        Where supercuboids lie.
    painter
        Changes supercuboids of labels.
    options
        Patience with other writers, and write-ids.
    """

    def __init__(self, objects: ObjectStore, painter: LabelPainter, options: VolumeOptions) -> None:
        self._objects = objects
        self._painter = painter
        self._options = options

    def build(
        self, dataset: Dataset, channel: Channel, root: PyramidNode, depth: int, method: Method
    ) -> Built:
        """Build a supercuboid and all below it, down to the level above its sources.

        Everything built is replaced wholly: what is there without sources becomes zero, and extra
        labels go. May be repeated.

        Parameters
        ----------
        dataset, channel
            What it belongs to.
        root
            The coarsest supercuboid.
        depth
            How many levels finer its sources are; 1 for one of a near-isotropic variant, whose
            sources are those of the plain level below.
        method
            See ``method_of``.

        Raises
        ------
        InvalidArgumentError
            The sources would be finer than the channel, the level has no near-isotropic variant,
            or the method does not go with the channel.
        ResolutionNotFoundError
            The dataset has no such level.
        CuboidDecodeError
            A source is damaged, or a supercuboid of labels that is to be replaced.
        WriteContentionError
            Other writers kept winning one supercuboid for too long.
        """
        level = dataset.pyramid.level(root.resolution)
        if root.resolution - depth < channel.resolution or depth < 1:
            raise InvalidArgumentError(
                f"Level {root.resolution} of channel {channel.name!r} cannot be made from "
                f"{depth} levels below; its own level is {channel.resolution}."
            )
        if root.neariso and (depth != 1 or not has_neariso(level)):
            raise InvalidArgumentError(
                f"Level {root.resolution} has no near-isotropic variant, or is made of {depth} "
                "levels; one level below makes it."
            )
        if (method is Method.LABELS) is not channel.is_annotation:
            raise InvalidArgumentError(
                f"Channel {channel.name!r} is not propagated by method {method.value!r}."
            )
        build = _Build(self._objects, self._painter, self._options, dataset, channel, method)
        build.make(root, depth)
        return Built(build.objects_read, build.objects_written, build.voxels_read)


@dataclass(slots=True)
class _Build:
    """One call of ``PyramidBuilder.build``, and its counts."""

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

    def make(self, node: PyramidNode, depth: int) -> _Cuboids | None:
        """Build a node and all below it; None where nothing is stored of it afterwards."""
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
        """Return what the sources of a node, as they are now, make of it; None where none is."""
        block = CoarseBlock(self._halving(node), node.code)
        found = False
        for child in self._children(node, depth):
            if depth > 1:
                cuboids = self.make(child, depth - 1)
                if cuboids is not None:
                    found = True
                    block.add(child.code, cuboids.items())
                continue
            stored = read_stored(self.objects, self._place(child))
            if stored is not None:
                found = True
                self.objects_read += 1
                fine = layout_of(self.channel, self._region(child).level)
                present = supercuboid.present_cuboids(stored.data, fine)
                self.voxels_read += block.add(child.code, present)
        return block.cuboids if found else None

    def _children(self, node: PyramidNode, depth: int) -> Iterator[PyramidNode]:
        """Yield the children that may be there, in Morton order.

        Sources are asked for one by one: a request for one that is not there costs a twelfth of a
        listing on S3. Where there are levels between, listings tell below which children nothing
        is stored, neither a source nor what an earlier build has left.
        """
        codes = self.ancestry.children(node.resolution, node.code, neariso=node.neariso)
        wanted = self._occupied(node, depth) if depth > 1 else set(codes)
        for code in codes:
            if code in wanted:
                yield PyramidNode(node.resolution - 1, node.time_point, code)

    def _occupied(self, node: PyramidNode, depth: int) -> set[int]:
        """Return the Morton codes of supercuboids one level down that have anything below them."""
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
        if node.neariso:  # it may end before the slices do
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
        )

    def _region(self, node: PyramidNode) -> Region:
        level = self.dataset.pyramid.level(node.resolution)
        times = (node.time_point, node.time_point + 1)
        return Region(level, level.box, times, node.neariso)

    def _place(self, node: PyramidNode) -> SupercuboidPlace:
        level = self.dataset.pyramid.level(node.resolution)
        return SupercuboidPlace(self.channel, level, node.time_point, node.code, node.neariso)
