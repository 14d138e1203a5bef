"""Which supercuboids of one resolution make which of the next coarser one.

Supercuboid edges are powers of two, and an edge halved never exceeds the edge one level up, also
where slabs give way to cubes. So each supercuboid has exactly one parent, the supercuboids of a
channel at one time point are a tree, and what makes a supercuboid of any level is a box of whole
supercuboids of any finer one.
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
    """How one level (or near-isotropic variant of it) is made from the next finer one.

    Attributes
    ----------
    factors_xyz
        Voxels that make one voxel, an axis: 2, or 1 in z between slices.
    children_xyz
        Supercuboids that make one supercuboid, an axis; powers of two.
    """

    factors_xyz: XYZ
    children_xyz: XYZ


@dataclass(frozen=True, slots=True)
class Ancestry:
    """The tree of supercuboids of a channel.

    Resolutions and codes name supercuboids; nothing here knows which of them are stored, and a box
    of descendants may reach over the edge of the volume.

    Parameters
    ----------
    pyramid
        The dataset's.
    cuboids_per_axis
        The channel's: edge of a supercuboid in cuboids.
    """

    pyramid: Pyramid
    cuboids_per_axis: int

    def supercuboid_xyz(self, resolution: int) -> XYZ:
        """Return the edges of a supercuboid in voxels; the near-isotropic variant has the same.

        Raises
        ------
        ResolutionNotFoundError
            The dataset has no such resolution (so do all methods).
        """
        x, y, z = self.pyramid.level(resolution).cuboid_xyz
        n = self.cuboids_per_axis
        return x * n, y * n, z * n

    def step(self, resolution: int, *, neariso: bool = False) -> Step:
        """Return how a level from 1 on is made from level ``resolution - 1``.

        Parameters
        ----------
        resolution
            The coarser level.
        neariso
            Whether its near-isotropic variant is made, which always halves z and always comes from
            the plain level below (ndstore's pyramid does that, whatever the scale-down).
        """
        return _step(self, resolution, neariso)

    def parent(self, resolution: int, code: int) -> Morton:
        """Return the supercuboid of level ``resolution + 1`` that a supercuboid is a part of."""
        return self.root(resolution, code, 1)

    def root(self, resolution: int, code: int, depth: int) -> Morton:
        """Return the ancestor of a supercuboid ``depth`` levels up; 0 gives itself."""
        (x, y, z), (mx, my, mz) = morton.decode(code), self._spread(resolution + depth, depth)
        return morton.encode(x // mx, y // my, z // mz)

    def roots(
        self, resolution: int, codes: NDArray[np.uint64], depth: int = 1
    ) -> NDArray[np.uint64]:
        """Return the distinct ancestors of many supercuboids, ascending; as ``root``."""
        spread = np.array(self._spread(resolution + depth, depth), np.int64)
        return np.unique(morton.encode_indices(morton.decode_codes(codes) // spread))

    def neariso_parent(self, resolution: int, code: int) -> Morton | None:
        """Return the supercuboid of the near-isotropic level above that one is a part of.

        None where level ``resolution + 1`` has no such variant, or where the variant ends before:
        it holds fewer slices than a halved z has.
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
        """Return the supercuboids of level ``resolution - 1`` that make one, in Morton order."""
        spread = self.step(resolution, neariso=neariso).children_xyz
        box = _descendants(code, spread)
        codes = np.sort(morton.plan(box.start_xyz, box.stop_xyz), axis=None)
        return tuple(Morton(each) for each in codes.tolist())

    def descendants(self, resolution: int, code: int, depth: int) -> Box:
        """Return the box of indices of the supercuboids ``depth`` levels down that make one."""
        return _descendants(code, self._spread(resolution, depth))

    def descendant_codes(self, resolution: int, code: int, depth: int) -> CodeRange:
        """Return the Morton range that the supercuboids ``depth`` levels down lie in.

        Where all axes shrink alike it holds nothing else. Between slices others lie among them, all
        in the same aligned cube: ask ``root`` which ones are meant.
        """
        box = self.descendants(resolution, code, depth)
        x, y, z = box.stop_xyz
        return CodeRange(morton.encode(*box.start_xyz), morton.encode(x - 1, y - 1, z - 1))

    def leaves(self, resolution: int, depth: int) -> int:
        """Return how many supercuboids ``depth`` levels down make one of a level."""
        x, y, z = self._spread(resolution, depth)
        return x * y * z

    def band_depth(self, source: int, deepest: int, most_leaves: int) -> int:
        """Return how many levels above a source level one root should span: at least 1.

        Parameters
        ----------
        source
            The level that is read; not the coarsest one.
        deepest
            The most levels wanted.
        most_leaves
            The most supercuboids of the source level below one root (passed over for depth 1).
        """
        depth = min(deepest, self.pyramid.levels - source)
        while depth > 1 and self.leaves(source + depth, depth) > most_leaves:
            depth -= 1
        return max(depth, 1)

    def _spread(self, resolution: int, depth: int) -> XYZ:
        """Return how many supercuboids ``depth`` levels below a level make one of it, an axis."""
        x, y, z = 1, 1, 1
        for each in range(resolution - depth + 1, resolution + 1):
            mx, my, mz = self.step(each).children_xyz
            x, y, z = x * mx, y * my, z * mz
        return x, y, z


def has_neariso(level: Level) -> bool:
    """Return whether a level has a near-isotropic variant of its own (level 0 has none)."""
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
