"""RAMON files as ndstore's clients make and read them: with h5py alone, dataset by dataset."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import h5py
import numpy as np

Values = Mapping[str, Any]


def ramon_file(objects: Mapping[str, Values]) -> bytes:
    """Return a file with a group for each name.

    Values of an object are datasets of its group; ``METADATA`` is a mapping of those of the inner
    group. Integers, floats and strings become datasets of one element, as ndstore's clients have
    them; arrays are written as they are.
    """
    out = BytesIO()
    with h5py.File(out, "w") as file:
        for name, values in objects.items():
            _fill(file.create_group(name), values)
    return out.getvalue()


def _fill(group: h5py.Group, values: Values) -> None:
    for name, value in values.items():
        match value:
            case Mapping():
                _fill(group.create_group(name), value)
            case str():
                group.create_dataset(name, (1,), h5py.string_dtype(), data=[value])
            case float():
                group.create_dataset(name, (1,), np.float64, data=value)
            case int():
                signed = np.int32 if value < 0 else np.uint64 if value >= 2**32 else np.uint32
                group.create_dataset(name, (1,), signed, data=value)
            case np.ndarray():
                group.create_dataset(name, data=value)
            case _:
                group.create_dataset(name, data=np.array(value, np.uint32))


def voxels(points: Any, resolution: int = 0) -> dict[str, Any]:
    """Return the datasets of an object that is a list of voxels."""
    return {"RESOLUTION": resolution, "VOXELS": np.array(points, np.uint32)}


def cutout(corner_xyz: tuple[int, int, int], mask_zyx: Any, resolution: int = 0) -> dict[str, Any]:
    """Return the datasets of an object that is a block."""
    mask = np.asarray(mask_zyx, np.uint32)
    return {"RESOLUTION": resolution, "XYZOFFSET": corner_xyz, "CUTOUT": mask}


def region_file(
    corner_xyz: tuple[int, int, int], size_xyz: tuple[int, int, int], resolution: int = 0
) -> bytes:
    """Return the body of a query for the objects in a region."""
    out = BytesIO()
    with h5py.File(out, "w") as file:
        _fill(file, {"RESOLUTION": resolution, "XYZOFFSET": corner_xyz, "CUTOUTSIZE": size_xyz})
    return out.getvalue()


def read_file(body: bytes) -> dict[str, Any]:
    """Return all that is in a file: groups as dicts, strings as str, the rest as arrays."""
    with h5py.File(BytesIO(body), "r") as file:
        return _read(file)


def _read(group: h5py.Group) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, item in group.items():
        if isinstance(item, h5py.Group):
            found[name] = _read(item)
        elif h5py.check_string_dtype(item.dtype):
            found[name] = item.asstr()[0]
        else:
            found[name] = item[...]
    return found


def read_ids(body: bytes) -> list[int] | None:
    """Return the ids that answer a query, None where the file has no list."""
    found = read_file(body).get("ANNOIDS")
    return None if found is None else found.tolist()
