"""Half-open boxes of voxels (or cells) in three dimensions."""

from dataclasses import dataclass
from typing import Self

from ndlambda.errors import EmptyBoxError

XYZ = tuple[int, int, int]
SlicesZYX = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open, non-empty box ``start <= p < stop``, tuples in x, y, z order.

    Raises
    ------
    EmptyBoxError
        A stop is not greater than its start.
    """

    start_xyz: XYZ
    stop_xyz: XYZ

    def __post_init__(self) -> None:
        for axis, start, stop in zip("xyz", self.start_xyz, self.stop_xyz, strict=True):
            if stop <= start:
                raise EmptyBoxError(
                    f"The {axis} range {start}:{stop} is empty; give start < stop.",
                    axis=axis,
                    start=start,
                    stop=stop,
                )

    @classmethod
    def at(cls, corner_xyz: XYZ, shape_xyz: XYZ) -> Self:
        """Return the box of a shape at a corner."""
        x, y, z = corner_xyz
        return cls(corner_xyz, (x + shape_xyz[0], y + shape_xyz[1], z + shape_xyz[2]))

    @property
    def shape_xyz(self) -> XYZ:
        """Edge lengths, x first."""
        (x0, y0, z0), (x1, y1, z1) = self.start_xyz, self.stop_xyz
        return x1 - x0, y1 - y0, z1 - z0

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Edge lengths in array order."""
        x, y, z = self.shape_xyz
        return z, y, x

    @property
    def voxels(self) -> int:
        """Number of voxels inside."""
        x, y, z = self.shape_xyz
        return x * y * z

    def shifted(self, by_xyz: XYZ) -> "Box":
        """Return the box moved by a vector."""
        (x0, y0, z0), (x1, y1, z1), (dx, dy, dz) = self.start_xyz, self.stop_xyz, by_xyz
        return Box((x0 + dx, y0 + dy, z0 + dz), (x1 + dx, y1 + dy, z1 + dz))

    def within(self, other: "Box") -> bool:
        """Return whether no voxel of this box is outside the other."""
        return all(a >= b for a, b in zip(self.start_xyz, other.start_xyz, strict=True)) and all(
            a <= b for a, b in zip(self.stop_xyz, other.stop_xyz, strict=True)
        )

    def intersection(self, other: "Box") -> "Box | None":
        """Return the common box, or None if they are disjoint."""
        (ax, ay, az), (bx, by, bz) = self.start_xyz, other.start_xyz
        (cx, cy, cz), (dx, dy, dz) = self.stop_xyz, other.stop_xyz
        start = (max(ax, bx), max(ay, by), max(az, bz))
        stop = (min(cx, dx), min(cy, dy), min(cz, dz))
        if any(hi <= lo for lo, hi in zip(start, stop, strict=True)):
            return None
        return Box(start, stop)

    def slices_zyx(self, origin_xyz: XYZ = (0, 0, 0)) -> SlicesZYX:
        """Return the numpy slices of this box in a (z, y, x) array whose first voxel is origin."""
        (x0, y0, z0), (x1, y1, z1), (ox, oy, oz) = self.start_xyz, self.stop_xyz, origin_xyz
        return slice(z0 - oz, z1 - oz), slice(y0 - oy, y1 - oy), slice(x0 - ox, x1 - ox)
