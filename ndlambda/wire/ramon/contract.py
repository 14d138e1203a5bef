"""What RAMON bodies hold, and what every RAMON format is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.model.ramon import Annotation
from ndlambda.space.box import XYZ


@dataclass(frozen=True, slots=True, eq=False)
class CuboidPart:
    """One cuboid of an object.

    Parameters
    ----------
    corner_xyz
        Zero-based, without the dataset's offset (ndstore's rule for cuboids only).
    labels_tzyx
        Its voxels (time, z, y, x).
    """

    corner_xyz: XYZ
    labels_tzyx: NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationVoxels:
    """Where an object lies at one resolution: a list of voxels, a dense block, cuboids, or none.

    Parameters
    ----------
    resolution
        Of all coordinates.
    voxels_xyz
        (n, 3) uint32, absolute: the dataset's offset is included.
    corner_xyz, cutout_zyx
        A block and its absolute corner. On its way in it is a mask of any integer dtype: every
        voxel that is not 0 belongs to the object.
    cuboids
        Cuboids that hold the object.
    """

    resolution: int
    voxels_xyz: NDArray[np.uint32] | None = None
    corner_xyz: XYZ | None = None
    cutout_zyx: NDArray[Any] | None = None
    cuboids: tuple[CuboidPart, ...] = ()


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """The smallest box around an object at one resolution: absolute corner and size, in voxels."""

    resolution: int
    corner_xyz: XYZ
    size_xyz: XYZ


@dataclass(frozen=True, slots=True)
class RamonItem:
    """One object of a body.

    Parameters
    ----------
    ramon
        The object; its id is 0 where the body asks for a new one.
    data
        Its voxels, if any came or were asked for.
    box
        Its bounding box, if asked for.
    derived
        Lists that are found and not stored, by field name, on their way out.
    ignored
        Names of datasets that ndstore would not look at either: a CUTOUT without XYZOFFSET. Its
        silence lost voxels; whoever takes the body decides.
    """

    ramon: Annotation
    data: AnnotationVoxels | None = None
    box: BoundingBox | None = None
    derived: Mapping[str, Sequence[int]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RamonLimits:
    """What a body may make us hold.

    Parameters
    ----------
    objects
        Most objects of a body.
    array_bytes
        Most bytes of all arrays of a body together, once inflated.
    """

    objects: int = 10_000
    array_bytes: int = 1 << 30


Encode = Callable[[Sequence[RamonItem]], bytes | memoryview]
Decode = Callable[[bytes | memoryview, RamonLimits], list[RamonItem]]


@dataclass(frozen=True, slots=True)
class RamonFormat:
    """One way to write objects into a body.

    Parameters
    ----------
    name
        As in URLs and queries.
    content_type
        Of the body.
    encode
        Objects -> body.
    decode
        Body, limits -> objects in the order of the body; None where the format is only written.
        Raises InvalidArgumentError and its kinds, ValidationError or PayloadTooLargeError, and
        nothing else.
    """

    name: str
    content_type: str
    encode: Encode
    decode: Decode | None
