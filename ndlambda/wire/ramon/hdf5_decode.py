"""Reads RAMON objects from possibly hostile HDF5 files.

Only the names of the layout are opened, by :mod:`ndlambda.wire.codecs.hdf5_reader`; sizes are
compared with the limits before anything is allocated.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import (
    DataTypeMismatchError,
    InvalidArgumentError,
    MalformedBodyError,
    PayloadTooLargeError,
    ShapeMismatchError,
)
from ndlambda.model.ramon import LARGEST_ID, Annotation, RamonType, build, fields_of
from ndlambda.model.ramon.flat import read_type
from ndlambda.model.ramon.kinds import Form, Kind
from ndlambda.space.box import XYZ
from ndlambda.wire.codecs.hdf5_reader import (
    find_group,
    find_numbers,
    find_text,
    open_bytes,
    read_dataset,
)
from ndlambda.wire.codecs.promise import Promise
from ndlambda.wire.ramon.contract import AnnotationVoxels, CuboidPart, RamonItem, RamonLimits
from ndlambda.wire.ramon.hdf5_encode import METADATA
from ndlambda.wire.ramon.pairs import read_pairs

if TYPE_CHECKING:
    import h5py

_ID: Final = re.compile(r"-?[0-9]+", re.ASCII)
_MISSPELT: Final = {"POSTSEGMENTS": "SPOSTEGMENTS"}
"""Misspelt names in files that ndstore wrote."""


@dataclass(slots=True)
class _Source:
    """A body, and how many bytes its arrays may still take."""

    body: bytes | memoryview
    remaining_bytes: int

    def reserve(self, nbytes: int, name: str) -> None:
        self.remaining_bytes -= nbytes
        if self.remaining_bytes < 0:
            raise PayloadTooLargeError(
                f"{name} makes the arrays of the body larger than is read at once.", name=name
            )


def decode(body: bytes | memoryview, limits: RamonLimits) -> list[RamonItem]:
    """Read all objects of a file, in the order of HDF5's name index.

    A group whose name is not a number requests a new id, as 0 does.

    Raises
    ------
    MalformedBodyError, DataTypeMismatchError, ShapeMismatchError
        The file or a dataset does not follow the layout.
    ValidationError
        A field has an invalid value for its type.
    PayloadTooLargeError
        There are more objects or larger arrays than the limits allow.
    """
    source = _Source(body, limits.array_bytes)
    items: list[RamonItem] = []
    with open_bytes(body) as root:
        if len(root) > limits.objects:
            raise PayloadTooLargeError(
                f"The body has {len(root)} objects; at most {limits.objects} are read.",
                limit=limits.objects,
            )
        for name in root:
            with _at(name):
                items.append(_read_item(_get_group(root, name), _id_of(name), source))
    return items


def decode_region(body: bytes | memoryview) -> tuple[int, XYZ, XYZ]:
    """Return resolution, absolute corner and size (x, y, z) of the region in a posted query.

    Raises
    ------
    MalformedBodyError, DataTypeMismatchError, ShapeMismatchError
        RESOLUTION, XYZOFFSET or CUTOUTSIZE is missing or is not one or three integers.
    """
    source = _Source(body, 1 << 10)
    with open_bytes(body) as root:
        resolution = _read_one(root, "RESOLUTION", source)
        corner, size = (_read_xyz(root, name, source) for name in ("XYZOFFSET", "CUTOUTSIZE"))
    if resolution is None or corner is None or size is None:
        message = "A region has RESOLUTION, XYZOFFSET and CUTOUTSIZE."
        raise MalformedBodyError(message)
    return resolution, corner, size


@contextmanager
def _at(name: str) -> Iterator[None]:
    """Add the name of the object to an error."""
    try:
        yield
    except InvalidArgumentError as error:
        error.details["object"] = name[:80]
        raise


def _get_group(parent: "h5py.Group", name: str) -> "h5py.Group":
    group = find_group(parent, name)
    if group is None:  # listed but missing: the file is damaged
        raise MalformedBodyError(f"The HDF5 file lists {name[:80]!r} but has it not.")
    return group


def _id_of(name: str) -> int:
    if not _ID.fullmatch(name):
        return 0
    if name.startswith("-") or len(name) > 20 or int(name) > LARGEST_ID:
        raise InvalidArgumentError(f"{name[:80]} is no id; an id is from 0 to {LARGEST_ID}.")
    return int(name)


def _read_item(group: "h5py.Group", annotation_id: int, source: _Source) -> RamonItem:
    number = _read_one(group, "ANNOTATION_TYPE", source)
    ramon_type = RamonType.ANNOTATION
    if number is not None:
        ramon_type = read_type(number, "ANNOTATION_TYPE")
    metadata = find_group(group, METADATA)
    if metadata is None:
        ramon: Annotation = build(ramon_type, annotation_id, {}, {})
    else:
        ramon = _read_metadata(metadata, ramon_type, annotation_id, source)
    data, ignored = _read_voxels(group, source)
    return RamonItem(ramon, data, ignored=ignored)


def _read_metadata(
    metadata: "h5py.Group", ramon_type: RamonType, annotation_id: int, source: _Source
) -> Annotation:
    values: dict[str, object] = {}
    for name, declared in fields_of(ramon_type).items():
        value = _read_field(metadata, declared.hdf5, declared.kind, source)
        if value is None and declared.hdf5 in _MISSPELT:
            value = _read_field(metadata, _MISSPELT[declared.hdf5], declared.kind, source)
        if value is not None:
            values[name] = value
    pairs = read_pairs(find_text(metadata, "KVPAIRS", source.body) or "")
    return build(ramon_type, annotation_id, values, pairs)


def _read_field(metadata: "h5py.Group", name: str, kind: Kind, source: _Source) -> object:
    if kind.form is Form.TEXT:
        return find_text(metadata, name, source.body)
    array = _read_array(metadata, name, source)
    if array is None:
        return None
    if kind.form not in {Form.REAL, Form.LOCATION}:
        _check_integers(array, name)
    if kind.is_list:
        return [element.item() for element in array.reshape(-1)]
    return _only(array, name)


def _read_voxels(
    group: "h5py.Group", source: _Source
) -> tuple[AnnotationVoxels | None, tuple[str, ...]]:
    voxels = _read_voxel_list(group, source)
    corner = _read_xyz(group, "XYZOFFSET", source)
    has_cutout = find_numbers(group, "CUTOUT") is not None
    ignored = ("CUTOUT",) if has_cutout and corner is None else ()
    cutout = None
    if has_cutout and corner is not None:
        cutout = _read_block(group, "CUTOUT", (3,), source)
    cuboids = _read_cuboids(group, source)
    if voxels is None and cutout is None and not cuboids:
        return None, ignored
    resolution = _read_one(group, "RESOLUTION", source)
    if resolution is None or resolution < 0:
        message = "An object with voxels needs a RESOLUTION that is not negative."
        raise MalformedBodyError(message)
    kept_corner = corner if cutout is not None else None
    return AnnotationVoxels(resolution, voxels, kept_corner, cutout, cuboids), ignored


def _read_voxel_list(group: "h5py.Group", source: _Source) -> NDArray[np.uint32] | None:
    found = find_numbers(group, "VOXELS")
    if found is None:
        return None
    if len(found[1]) != 2 or found[1][1] != 3:
        message = f"VOXELS has shape {found[1]}, not (n, 3): x, y and z of each voxel."
        raise ShapeMismatchError(message, found=list(found[1]))
    array = _read_array(group, "VOXELS", source)
    assert array is not None
    _check_integers(array, "VOXELS")
    if array.size and not (array.min() >= 0 and int(array.max()) < 2**32):
        message = "VOXELS has coordinates that are negative or beyond 32 bits."
        raise MalformedBodyError(message)
    return array.astype("<u4")


def _read_cuboids(group: "h5py.Group", source: _Source) -> tuple[CuboidPart, ...]:
    cuboids = find_group(group, "CUBOIDS")
    if cuboids is None:
        return ()
    parts: list[CuboidPart] = []
    for name in cuboids:
        part = _get_group(cuboids, name)
        corner = _read_xyz(part, "XYZOFFSET", source)
        if corner is None or find_numbers(part, "CUBOID") is None:
            raise MalformedBodyError(f"The cuboid {name[:80]!r} lacks XYZOFFSET or CUBOID.")
        block = _read_block(part, "CUBOID", (3, 4), source)
        parts.append(CuboidPart(corner, block if block.ndim == 4 else block[np.newaxis]))
    return tuple(parts)


def _read_block(
    group: "h5py.Group", name: str, axes: tuple[int, ...], source: _Source
) -> NDArray[Any]:
    array = _read_array(group, name, source)
    assert array is not None
    _check_integers(array, name)
    if array.ndim not in axes or not array.size:
        message = f"{name} has shape {array.shape}; it needs z, y and x, none of them empty."
        raise ShapeMismatchError(message, found=list(array.shape))
    return array


def _read_xyz(group: "h5py.Group", name: str, source: _Source) -> XYZ | None:
    values = _read_integers(group, name, source)
    if values is None:
        return None
    if len(values) != 3 or min(values) < 0:
        raise MalformedBodyError(f"{name} is not three integers x, y, z from 0 on.")
    return values[0], values[1], values[2]


def _read_one(group: "h5py.Group", name: str, source: _Source) -> int | None:
    values = _read_integers(group, name, source)
    if values is not None and len(values) != 1:
        raise ShapeMismatchError(f"{name} has {len(values)} values instead of one.")
    return None if values is None else values[0]


def _read_integers(group: "h5py.Group", name: str, source: _Source) -> list[int] | None:
    array = _read_array(group, name, source)
    if array is None:
        return None
    _check_integers(array, name)
    return [int(element) for element in array.reshape(-1)]


def _read_array(group: "h5py.Group", name: str, source: _Source) -> NDArray[Any] | None:
    """Return a numeric dataset of any shape, if the limit allows it."""
    found = find_numbers(group, name)
    if found is None:
        return None
    dtype, shape = found
    source.reserve(math.prod(shape) * dtype.itemsize, name)
    return read_dataset(group, name, Promise(dtype.newbyteorder("<"), shape))


def _check_integers(array: NDArray[Any], name: str) -> None:
    if array.dtype.kind not in "iu":
        raise DataTypeMismatchError(f"{name} holds {array.dtype.name} instead of integers.")


def _only(array: NDArray[Any], name: str) -> object:
    if array.size != 1:
        raise ShapeMismatchError(f"{name} has {array.size} values instead of one.")
    value: object = array.reshape(-1)[0].item()
    return value
