"""Sizes, offsets, voxel sizes and cuboid shapes of every resolution of a dataset.

The formulas are ndstore's (its info document and its storage agree on them): integer divisions
round down, sizes round up.
"""

import math
from dataclasses import dataclass
from enum import IntEnum

from ndlambda.errors import ResolutionNotFoundError
from ndlambda.space.box import XYZ, Box

SLAB_CUBOID_XYZ: XYZ = (128, 128, 16)
CUBE_CUBOID_XYZ: XYZ = (64, 64, 64)


_COARSEST_EDGE = 512
_MAX_LEVELS = 20


class Scaling(IntEnum):
    """How a dataset shrinks from one resolution to the next (ndstore's ``scalingoption``)."""

    ZSLICES = 0
    ISOTROPIC = 1


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of a dataset: tuples in x, y, z order, voxel size in nanometres.

    ``neariso_*`` describe the near-isotropic variant of the level (z reduced by
    ``neariso_scaledown`` so that a voxel is about as long in z as in y).
    """

    resolution: int
    imagesize_xyz: XYZ
    offset_xyz: XYZ
    voxelres_xyz: tuple[float, float, float]
    cuboid_xyz: XYZ
    neariso_scaledown: int

    @property
    def box(self) -> Box:
        """The whole level, zero-based."""
        return Box((0, 0, 0), self.imagesize_xyz)

    @property
    def scale_xz(self) -> float:
        """Voxel length in z over voxel length in y, which is what ndstore calls its xz scale."""
        return self.voxelres_xyz[2] / self.voxelres_xyz[1]

    @property
    def neariso_imagesize_xyz(self) -> XYZ:
        """Size of the near-isotropic variant; z is floored, but never 0."""
        x, y, z = self.imagesize_xyz
        return x, y, max(1, z // self.neariso_scaledown)

    @property
    def neariso_voxelres_xyz(self) -> tuple[float, float, float]:
        """Voxel size of the near-isotropic variant."""
        x, y, z = self.voxelres_xyz
        return x, y, z * self.neariso_scaledown

    @property
    def neariso_offset_xyz(self) -> tuple[float, float, float]:
        """Offset of the near-isotropic variant, as ndstore's info prints it (float division)."""
        x, y, z = self.offset_xyz
        return float(x), float(y), z / self.neariso_scaledown


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The geometry of a dataset at resolution 0, and its scaling rule."""

    imagesize_xyz: XYZ
    offset_xyz: XYZ
    voxelres_xyz: tuple[float, float, float]
    scaling: Scaling
    levels: int

    def level(self, resolution: int) -> Level:
        """Return one resolution, 0 (finest) to ``levels`` inclusive.

        Raises
        ------
        ResolutionNotFoundError
            The dataset has no such resolution.
        """
        if not 0 <= resolution <= self.levels:
            raise ResolutionNotFoundError(
                f"Resolution {resolution} does not exist; the dataset has 0 to {self.levels}.",
                resolution=resolution,
                levels=self.levels,
            )
        factor = 1 << resolution
        z_factor = 1 if self.scaling is Scaling.ZSLICES else factor
        factors = (factor, factor, z_factor)
        x, y, z = (-(-s // f) for s, f in zip(self.imagesize_xyz, factors, strict=True))
        ox, oy, oz = (o // f for o, f in zip(self.offset_xyz, factors, strict=True))
        vx, vy, vz = (v * f for v, f in zip(self.voxelres_xyz, factors, strict=True))
        return Level(
            resolution=resolution,
            imagesize_xyz=(x, y, z),
            offset_xyz=(ox, oy, oz),
            voxelres_xyz=(vx, vy, vz),
            cuboid_xyz=self._cuboid_xyz(vz / vx),
            neariso_scaledown=self._neariso_scaledown(vz / vy),
        )

    def all_levels(self) -> tuple[Level, ...]:
        """Return every resolution, finest first."""
        return tuple(self.level(resolution) for resolution in range(self.levels + 1))

    def _cuboid_xyz(self, z_over_x: float) -> XYZ:
        if self.scaling is Scaling.ZSLICES and z_over_x > 0.5:
            return SLAB_CUBOID_XYZ
        return CUBE_CUBOID_XYZ

    def _neariso_scaledown(self, scale_xz: float) -> int:
        if self.scaling is Scaling.ISOTROPIC or scale_xz >= 1:
            return 1
        slices = 1 / scale_xz
        above, below = math.ceil(slices), math.floor(slices)
        return above if above - slices <= slices - below else below


def natural_scaling(voxelres_xyz: tuple[float, float, float]) -> Scaling:
    """Return the scaling that suits a voxel size: isotropic where no edge exceeds another by √2.

    A level of z-slices doubles x and y beside z. Voxels whose edges differ by less than half of
    such a step, a factor of √2, are nearer to cubes now than after it.
    """
    is_cube = max(voxelres_xyz) <= math.sqrt(2) * min(voxelres_xyz)
    return Scaling.ISOTROPIC if is_cube else Scaling.ZSLICES


def useful_levels(size_xyz: XYZ, scaling: Scaling) -> int:
    """Return how many coarser resolutions bring every halved edge to 512 voxels or less."""
    edge = max(size_xyz if scaling is Scaling.ISOTROPIC else size_xyz[:2])
    levels = 0
    while edge > _COARSEST_EDGE and levels < _MAX_LEVELS:
        edge, levels = -(-edge // 2), levels + 1
    return levels


def describe_scaling(
    scaling: Scaling, levels: int, voxelres_xyz: tuple[float, float, float]
) -> str:
    """Return a sentence about how a dataset of a voxel size is scaled."""
    name = "isotropic (x, y and z are halved)"
    if scaling is Scaling.ZSLICES:
        name = "zslices (x and y are halved)"
    nanometres = " x ".join(f"{edge:g}" for edge in voxelres_xyz)
    return f"Voxels of {nanometres} nm: scaling {name}, coarser resolutions: {levels}."
