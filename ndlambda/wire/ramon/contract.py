"""The contents of RAMON bodies, and the contract of RAMON formats."""

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
    """The voxels of an object at one resolution: a voxel list, a dense block, cuboids, or none.

    Parameters
    ----------
    resolution
        The resolution of all coordinates.
    voxels_xyz
        (n, 3) uint32, absolute: the dataset's offset is included.
    corner_xyz, cutout_zyx
        A block and its absolute corner. In an upload it is a mask of any integer dtype: every
        voxel other than 0 belongs to the object.
    cuboids
        The cuboids that hold the object.
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
    """One object in a body.

    Parameters
    ----------
    ramon
        The object; id 0 requests a new id.
    data
        Its voxels, if uploaded or requested.
    box
        Its bounding box, if requested.
    derived
        Lists that are computed rather than stored, by field name; only in responses.
    ignored
        Names of datasets that ndstore ignores: a CUTOUT without XYZOFFSET. ndstore lost such voxels
        silently; here the receiver of the body decides.
    """

    ramon: Annotation
    data: AnnotationVoxels | None = None
    box: BoundingBox | None = None
    derived: Mapping[str, Sequence[int]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RamonLimits:
    """How much memory a body may make the server use.

    Parameters
    ----------
    objects
        Most objects in a body.
    array_bytes
        Most bytes of all arrays in a body, inflated.
    """

    objects: int = 10_000
    array_bytes: int = 1 << 30


Encode = Callable[[Sequence[RamonItem]], bytes | memoryview]
Decode = Callable[[bytes | memoryview, RamonLimits], list[RamonItem]]


@dataclass(frozen=True, slots=True)
class RamonFormat:
    """A format of bodies with objects.

    Parameters
    ----------
    name
        As in URLs and queries.
    content_type
        Of the body.
    encode
        Objects -> body.
    decode
        Body, limits -> objects in the body's order; None if the format is write-only. Raises only
        InvalidArgumentError and its subclasses, ValidationError or PayloadTooLargeError.
    """

    name: str
    content_type: str
    encode: Encode
    decode: Decode | None
