"""Which supercuboids of one resolution are downsampled to which of the next coarser one.

Supercuboid edges are powers of two, and a halved edge never exceeds the edge one level up, even
where slabs change to cubes. So each supercuboid has exactly one parent, the supercuboids of a
channel at one time point form a tree, and the sources of any supercuboid are a box of whole
supercuboids of any finer level.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import InvalidArgumentError
from ndlambda.space import morton
from ndlambda.space.box import XYZ, Box
from ndlambda.space.morton import Morton
from ndlambda.space.pyramid import Level, Pyramid, Scaling

_HALVED: XYZ = (2, 2, 2)
_HALVED_SLICES: XYZ = (2, 2, 1)


@dataclass(frozen=True, slots=True)
class CodeRange:
    """Morton codes ``first <= code <= last`` (both inclusive)."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Step:
    """How one level (or its near-isotropic variant) is downsampled from the next finer one.

    Attributes
    ----------
    factors_xyz
        Fine voxels per coarse voxel, by axis: 2, or 1 in z between slices.
    children_xyz
        Fine supercuboids per coarse supercuboid, by axis; powers of two.
    """

    factors_xyz: XYZ
    children_xyz: XYZ


@dataclass(frozen=True, slots=True)
class Ancestry:
    """The tree of a channel's supercuboids.

    Resolutions and codes name supercuboids, whether or not they are stored, and a box of
    descendants may exceed the volume.

    Parameters
    ----------
    pyramid
        The dataset's pyramid.
    cuboids_per_axis
        Edge of the channel's supercuboids in cuboids.
    """

    pyramid: Pyramid
    cuboids_per_axis: int

    def supercuboid_xyz(self, resolution: int) -> XYZ:
        """Return the edges of a supercuboid in voxels, also for the near-isotropic variant.

        Raises
        ------
        ResolutionNotFoundError
            The dataset has no such resolution (raised by all methods).
        """
        x, y, z = self.pyramid.level(resolution).cuboid_xyz
        n = self.cuboids_per_axis
        return x * n, y * n, z * n

    def step(self, resolution: int, *, neariso: bool = False) -> Step:
        """Return how a level from 1 on is downsampled from level ``resolution - 1``.

        Parameters
        ----------
        resolution
            The coarser level.
        neariso
            Whether to build its near-isotropic variant, which always halves z and is always built
            from the plain level below (as ndstore's pyramid does, whatever the scale-down).
        """
        return _step(self, resolution, neariso)

    def parent(self, resolution: int, code: int) -> Morton:
        """Return the supercuboid of level ``resolution + 1`` that contains a supercuboid."""
        return self.root(resolution, code, 1)

    def root(self, resolution: int, code: int, depth: int) -> Morton:
        """Return the ancestor of a supercuboid ``depth`` levels up; 0 returns itself."""
        (x, y, z), (mx, my, mz) = morton.decode(code), self._spread(resolution + depth, depth)
        return morton.encode(x // mx, y // my, z // mz)

    def roots(
        self, resolution: int, codes: NDArray[np.uint64], depth: int = 1
    ) -> NDArray[np.uint64]:
        """Return the distinct ancestors of many supercuboids, ascending; see ``root``."""
        spread = np.array(self._spread(resolution + depth, depth), np.int64)
        return np.unique(morton.encode_indices(morton.decode_codes(codes) // spread))

    def neariso_parent(self, resolution: int, code: int) -> Morton | None:
        """Return the supercuboid of the near-isotropic level above that contains one.

        None if level ``resolution + 1`` has no such variant, or if the variant ends before: it has
        fewer slices than a halved z.
        """
        level = self.pyramid.level(resolution + 1)
        if not has_neariso(level):
            return None
        mx, my, mz = self.step(level.resolution, neariso=True).children_xyz
        x, y, z = morton.decode(code)
        depth_z = self.supercuboid_xyz(level.resolution)[2]
        if z // mz * depth_z >= level.neariso_imagesize_xyz[2]:
            return None
        return morton.encode(x // mx, y // my, z // mz)

    def children(self, resolution: int, code: int, *, neariso: bool = False) -> tuple[Morton, ...]:
        """Return the supercuboids of level ``resolution - 1`` in one, in Morton order."""
        spread = self.step(resolution, neariso=neariso).children_xyz
        box = _descendants(code, spread)
        codes = np.sort(morton.plan(box.start_xyz, box.stop_xyz), axis=None)
        return tuple(Morton(each) for each in codes.tolist())

    def descendants(self, resolution: int, code: int, depth: int) -> Box:
        """Return the box of indices of the supercuboids ``depth`` levels down in one."""
        return _descendants(code, self._spread(resolution, depth))

    def descendant_codes(self, resolution: int, code: int, depth: int) -> CodeRange:
        """Return the Morton range of the supercuboids ``depth`` levels down.

        If all axes shrink alike it contains no others. Between slices it also contains others of
        the same aligned cube: ``root`` tells which ones belong.
        """
        box = self.descendants(resolution, code, depth)
        x, y, z = box.stop_xyz
        return CodeRange(morton.encode(*box.start_xyz), morton.encode(x - 1, y - 1, z - 1))

    def leaves(self, resolution: int, depth: int) -> int:
        """Return how many supercuboids ``depth`` levels down are in one of a level."""
        x, y, z = self._spread(resolution, depth)
        return x * y * z

    def band_depth(self, source: int, max_depth: int, max_leaves: int) -> int:
        """Return how many levels above a source level one root should span, at least 1.

        Parameters
        ----------
        source
            The level that is read; not the coarsest one.
        max_depth
            The most levels.
        max_leaves
            The most supercuboids of the source level below one root (ignored for depth 1).
        """
        depth = min(max_depth, self.pyramid.levels - source)
        while depth > 1 and self.leaves(source + depth, depth) > max_leaves:
            depth -= 1
        return max(depth, 1)

    def _spread(self, resolution: int, depth: int) -> XYZ:
        """Return how many supercuboids ``depth`` levels down are in one of a level, by axis."""
        x, y, z = 1, 1, 1
        for each in range(resolution - depth + 1, resolution + 1):
            mx, my, mz = self.step(each).children_xyz
            x, y, z = x * mx, y * my, z * mz
        return x, y, z


def has_neariso(level: Level) -> bool:
    """Return whether a level has a separate near-isotropic variant (level 0 has none)."""
    return level.resolution > 0 and level.neariso_scaledown > 1


@lru_cache(maxsize=1024)
def _step(ancestry: Ancestry, resolution: int, neariso: bool) -> Step:
    if resolution < 1:
        raise InvalidArgumentError("Resolution 0 is made from no other.", resolution=resolution)
    halved = neariso or ancestry.pyramid.scaling is Scaling.ISOTROPIC
    factors = _HALVED if halved else _HALVED_SLICES
    fine = ancestry.supercuboid_xyz(resolution - 1)
    coarse = ancestry.supercuboid_xyz(resolution)
    x, y, z = (f * c // d for f, c, d in zip(factors, coarse, fine, strict=True))
    return Step(factors, (x, y, z))


def _descendants(code: int, spread_xyz: XYZ) -> Box:
    (x, y, z), (mx, my, mz) = morton.decode(code), spread_xyz
    return Box.at((x * mx, y * my, z * mz), spread_xyz)
