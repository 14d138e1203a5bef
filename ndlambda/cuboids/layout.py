"""The layout of a channel's stored objects, and which cuboids a box touches."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ndlambda.errors import InvalidArgumentError, OutOfBoundsError
from ndlambda.model.catalog import CodecSpec
from ndlambda.space import grid, morton
from ndlambda.space.box import XYZ, Box, SlicesZYX

CUBOIDS_PER_AXIS = (1, 2, 4)
CHECKSUM_BYTES = 4
"""A crc32c, little endian: follows the header, every frame, and the index."""
FRAME_OVERHEAD_BYTES = 16
"""Most bytes that blosc adds to the voxels, its header (``BLOSC_MAX_OVERHEAD``)."""
HEADER_BYTES = 20
"""Write-id (16) and the length of the extras (4); the extras and a checksum follow."""
MAX_EXTRAS_BYTES = 64 << 20
INDEX_ENTRY_BYTES = 16


@dataclass(frozen=True, slots=True)
class CuboidLayout:
    """The shape of a channel's supercuboids at one resolution.

    Parameters
    ----------
    dtype
        Little-endian voxel type.
    cuboid_xyz
        Edges of a cuboid in voxels.
    cuboids_per_axis
        Edge of a supercuboid in cuboids: 1, 2 or 4.
    codec
        How frames are compressed. Frames of any blosc codec can be read.

    Raises
    ------
    InvalidArgumentError
        Another edge, or a dtype that is big-endian or not a plain number.
    """

    dtype: np.dtype
    cuboid_xyz: XYZ
    cuboids_per_axis: int
    codec: CodecSpec

    def __post_init__(self) -> None:
        if self.cuboids_per_axis not in CUBOIDS_PER_AXIS:
            raise InvalidArgumentError(
                f"A supercuboid has 1, 2 or 4 cuboids an axis, not {self.cuboids_per_axis}."
            )
        if self.dtype.kind not in "uif" or self.dtype.newbyteorder("<") != self.dtype:
            raise InvalidArgumentError(
                f"Voxels are little-endian integers or floats, not {self.dtype}."
            )

    @property
    def supercuboid_xyz(self) -> XYZ:
        """Edges of a supercuboid in voxels."""
        (x, y, z), n = self.cuboid_xyz, self.cuboids_per_axis
        return x * n, y * n, z * n

    @property
    def slots(self) -> int:
        """Number of cuboids in a supercuboid; a slot is a cuboid's Morton code in it, from 0."""
        return self.cuboids_per_axis**3

    @property
    def cuboid_shape_zyx(self) -> tuple[int, int, int]:
        """Shape of a cuboid's array."""
        x, y, z = self.cuboid_xyz
        return z, y, x

    @property
    def cuboid_bytes(self) -> int:
        """Size of a cuboid's voxels in bytes."""
        return math.prod(self.cuboid_xyz) * self.dtype.itemsize

    @property
    def index_bytes(self) -> int:
        """Length of the shard index at the end of an object, including its checksum."""
        return self.slots * INDEX_ENTRY_BYTES + CHECKSUM_BYTES

    @property
    def max_frame_bytes(self) -> int:
        """Longest possible stored frame, including its checksum."""
        return self.cuboid_bytes + FRAME_OVERHEAD_BYTES + CHECKSUM_BYTES

    @property
    def max_object_bytes(self) -> int:
        """Longest possible object; the index of a longer one is not trusted."""
        header = HEADER_BYTES + MAX_EXTRAS_BYTES + CHECKSUM_BYTES
        return header + self.slots * self.max_frame_bytes + self.index_bytes


@dataclass(frozen=True, slots=True)
class SlotPart:
    """The part of a box inside one cuboid.

    Attributes
    ----------
    slot
        Morton code of the cuboid inside its supercuboid.
    box
        The part, in voxels from the cuboid's corner.
    where
        The part's place in an array of the whole box.
    """

    slot: int
    box: Box
    where: SlicesZYX


def needed_slots(layout: CuboidLayout, part: Box) -> tuple[SlotPart, ...]:
    """Return the cuboids that a part of a supercuboid touches, in Morton order.

    Parameters
    ----------
    layout
        The supercuboid's layout.
    part
        In voxels from the supercuboid's corner.

    Returns
    -------
    parts
        Parts that tile the box exactly.

    Raises
    ------
    OutOfBoundsError
        The part exceeds the supercuboid.
    """
    return _needed_slots(layout.cuboid_xyz, layout.cuboids_per_axis, part)


# A cutout meets few distinct parts: the whole supercuboid, and at most 26 pieces at its faces,
# edges and corners. Computing them takes about 0.1 ms, a third of decoding a cuboid.
@lru_cache(maxsize=4096)
def _needed_slots(cuboid_xyz: XYZ, cuboids_per_axis: int, part: Box) -> tuple[SlotPart, ...]:
    x, y, z = (edge * cuboids_per_axis for edge in cuboid_xyz)
    if not part.within(Box((0, 0, 0), (x, y, z))):
        raise OutOfBoundsError(f"{part} leaves its supercuboid of {x} x {y} x {z} voxels.")
    return tuple(
        SlotPart(
            cell.code,
            Box.at(_minus(cell.part.start_xyz, cell.box.start_xyz), cell.part.shape_xyz),
            cell.part.slices_zyx(part.start_xyz),
        )
        for cell in sorted(grid.cover(part, cuboid_xyz), key=lambda cell: cell.code)
    )


@lru_cache(maxsize=256)
def cuboid_box(layout: CuboidLayout, slot: int) -> Box:
    """Return a cuboid in voxels from its supercuboid's corner."""
    (ix, iy, iz), (cx, cy, cz) = morton.decode(slot), layout.cuboid_xyz
    return Box.at((ix * cx, iy * cy, iz * cz), layout.cuboid_xyz)


def _minus(a: XYZ, b: XYZ) -> XYZ:
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@lru_cache(maxsize=len(CUBOIDS_PER_AXIS))
def index_entries(cuboids_per_axis: int) -> tuple[int, ...]:
    """Return the position in the shard index of every slot.

    Frames are stored in Morton order, but Zarr orders the index entries as a C-ordered array of the
    inner chunk grid (z, y, x). The two orders differ from 4 cuboids per axis on.
    """
    n = cuboids_per_axis
    corners = (morton.decode(slot) for slot in range(n**3))
    return tuple((z * n + y) * n + x for x, y, z in corners)
