"""Which levels a round builds in which order, and from which roots.

A full round goes by bands of several levels: each task builds all below one root of the band's
coarsest level, so that voxels are read once a band; what exists is found by listing. A round after
marks goes level by level: from the marked supercuboids alone it is known what depends on them.
Near-isotropic variants come from the plain level below each, after that is built.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.propagation.builder import PyramidNode
from ndlambda.services.propagation.marks import DirtyMark
from ndlambda.space.ancestry import Ancestry, has_neariso
from ndlambda.space.grid import cell_count
from ndlambda.stores.ports import ObjectStore

MOST_LEAVES = 512
"""Supercuboids that one task reads at most."""

FEWEST_ROOTS = 8
"""A band gives up levels for so many tasks, so that several workers have something to do."""

_CODES_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Layer:
    """Levels that tasks build from their roots: ``depth`` ones, ``resolution`` the coarsest."""

    resolution: int
    depth: int = 1
    neariso: bool = False

    @property
    def resolutions(self) -> tuple[int, ...]:
        """The levels, finest first."""
        return tuple(range(self.resolution - self.depth + 1, self.resolution + 1))


Band = tuple[Layer, ...]
"""What is built at one time; all of it needs only what earlier bands built."""


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans the propagation of one channel.

    Attributes
    ----------
    depth
        The most levels that a band of a full round has.
    """

    dataset: Dataset
    channel: Channel
    depth: int

    @property
    def ancestry(self) -> Ancestry:
        """The tree of the channel's supercuboids."""
        return Ancestry(self.dataset.pyramid, self.channel.cuboids_per_axis)

    def bands(self, *, full: bool) -> tuple[Band, ...]:
        """Return the bands of a round, in order; none where the dataset has no coarser levels."""
        base, levels = self.channel.resolution, self.dataset.scalinglevels
        neariso = {
            level.resolution: Layer(level.resolution, neariso=True)
            for level in self.dataset.pyramid.all_levels()[base + 1 :]
            if has_neariso(level)
        }
        if not full:
            return tuple(
                (Layer(resolution), *((neariso[resolution],) if resolution in neariso else ()))
                for resolution in range(base + 1, levels + 1)
            )
        bands: list[Band] = []
        while base < levels:
            depth = self._band_depth(base)
            base += depth
            bands.append((Layer(base, depth),))
        return (*bands, tuple(neariso.values())) if neariso else tuple(bands)

    def _band_depth(self, base: int) -> int:
        """Return the most levels that leave tasks enough; if none does, there is little to do."""
        deepest = self.ancestry.band_depth(base, self.depth, MOST_LEAVES)
        for depth in range(deepest, 0, -1):
            level = self.dataset.pyramid.level(base + depth)
            roots = cell_count(level.box, self.ancestry.supercuboid_xyz(level.resolution))
            if roots >= FEWEST_ROOTS:
                return depth
        return deepest

    def weights(self, *, full: bool) -> list[float]:
        """Return how much there is to read for each band, against the whole of the first level."""
        sizes = {level.resolution: level.box.voxels for level in self.dataset.pyramid.all_levels()}
        base = sizes[self.channel.resolution]
        return [
            sum(sizes[layer.resolution - layer.depth] / base for layer in band)
            for band in self.bands(full=full)
        ]

    def listed(self, objects: ObjectStore, band: Band) -> Iterator[PyramidNode]:
        """Iterate over the roots of a band by what is stored: its sources, and its targets.

        Targets may have lost all their sources since; they are built to zero.
        """
        for layer in band:
            source = layer.resolution - layer.depth
            yield from self._roots(objects, layer, source)
            for target in layer.resolutions:
                yield from self._roots(objects, layer, target)

    def marked(self, marks: Iterable[DirtyMark], band: Band) -> Iterator[PyramidNode]:
        """Iterate over what a band of single levels has that depends on marked supercuboids.

        That includes those marked themselves: a coarser level is nothing but what the finer ones
        make it, as after a full round.
        """
        for mark in marks:
            for layer in band:
                codes = np.array(mark.codes, np.uint64)
                below = layer.resolution - int(layer.neariso) - mark.resolution
                if below < 0:
                    continue
                found = self.ancestry.roots(mark.resolution, codes, below).tolist()
                for code in self._near(layer, found) if layer.neariso else found:
                    yield PyramidNode(layer.resolution, mark.time_point, code, layer.neariso)

    def _roots(self, objects: ObjectStore, layer: Layer, resolution: int) -> Iterator[PyramidNode]:
        """Iterate over the roots of a layer's stored supercuboids of one level.

        The coarsest level itself is that of the near-isotropic variant where that is built.
        """
        is_variant = layer.neariso and resolution == layer.resolution
        for time_point, codes in self._stored(objects, f"{resolution}{'n' if is_variant else ''}"):
            if is_variant:
                found = codes
            elif layer.neariso:
                found = self._near(layer, codes)
            else:
                array = np.array(codes, np.uint64)
                depth = layer.resolution - resolution
                found = self.ancestry.roots(resolution, array, depth).tolist()
            for code in found:
                yield PyramidNode(layer.resolution, time_point, code, layer.neariso)

    def _near(self, layer: Layer, codes: Iterable[int]) -> list[int]:
        parents = {self.ancestry.neariso_parent(layer.resolution - 1, code) for code in codes}
        return sorted(parent for parent in parents if parent is not None)

    def _stored(self, objects: ObjectStore, name: str) -> Iterator[tuple[int, list[int]]]:
        """Iterate over time points and codes of the stored supercuboids of a level, in pieces."""
        channel = self.channel
        prefix = f"{channel.project}/{channel.name}/{channel.uid}/{name}/"
        time_point, codes = 0, list[int]()
        for info in objects.list(prefix):
            text, _, code = info.key.removeprefix(prefix).partition("/")
            if codes and (int(text) != time_point or len(codes) == _CODES_AT_ONCE):
                yield time_point, codes
                codes = []
            time_point = int(text)
            codes.append(int(code, 16))
        if codes:
            yield time_point, codes
