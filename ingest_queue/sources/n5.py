"""Reads N5 datasets by tensorstore; x is the first axis; ``s0``, ``s1``... are levels."""

from pathlib import Path
from typing import Any, Final

from ingest_queue.images.damage import reading
from ingest_queue.sources import Options, Place, Source
from ingest_queue.sources.arrays import open_array, plan_layout
from ingest_queue.sources.checks import voxel_size
from ingest_queue.sources.tensors import check_chunks, chunk_names, open_tensor, read_json
from ndlambda.errors import InvalidArgumentError

SUFFIXES = (".n5",)

_MARK: Final = "attributes.json"
_AXES: Final = {2: "xy", 3: "xyz"}


def matches(place: Place) -> bool:
    """Match by the metadata file of the folder, or its name."""
    folder = place.folder
    named = place.path is not None and place.path.name.lower().endswith(SUFFIXES)
    return folder is not None and (named or (folder / _MARK).is_file())


def open_source(place: Place, options: Options) -> Source:
    """Read the metadata; see :func:`ingest_queue.sources.open_source`."""
    where, group = place.text, place.folder
    assert group is not None, "matched as a folder"
    folder = _dataset(where, group, options.level)
    attributes = read_json(folder / _MARK)
    tensor = open_tensor(where, "n5", folder)
    check_chunks(where, folder, chunk_names(len(tensor.shape), "/"), options.gaps)
    axes = options.axes or _named(attributes) or _AXES.get(len(tensor.shape), "")
    if not axes:
        raise InvalidArgumentError(
            f"{where} has the shape {tensor.shape} and does not say which axis is which; give the "
            "axes in this order, as in xyzt."
        )
    layout = plan_layout(where, axes, tensor.shape, options.channel)
    with reading(where):
        voxelres = _voxel_size(attributes, axes)
    return open_array(where, tensor, layout, voxelres)


def _dataset(where: str, folder: Path, level: int) -> Path:
    if "dimensions" in read_json(folder / _MARK):
        if level:
            raise InvalidArgumentError(f"{where} is one dataset and has no levels.")
        return folder
    if not (folder / f"s{level}" / _MARK).is_file():
        raise InvalidArgumentError(
            f"{where} is no N5 dataset, nor has it a level s{level}; name a dataset in it, as in "
            f"{folder.name}:/volumes/raw."
        )
    return folder / f"s{level}"


def _named(attributes: dict[str, Any]) -> str:
    letters = [str(name).lower() for name in attributes.get("axes", ())]
    return "".join(letters) if all(name in set("tczyx") for name in letters) else ""


def _voxel_size(attributes: dict[str, Any], axes: str) -> tuple[float, float, float] | None:
    """Read ``resolution`` and ``units``, or ``pixelResolution``, as Fiji and Paintera write it."""
    sizes, units = attributes.get("resolution"), attributes.get("units")
    pixel = attributes.get("pixelResolution")
    if isinstance(pixel, dict):
        sizes = pixel["dimensions"]
        units = [pixel.get("unit", "")] * len(sizes)
    elif pixel:
        sizes, units = pixel, ["um"] * len(pixel)
    if not sizes:
        return None
    by_axis = dict(zip(axes, map(float, sizes), strict=False))
    return voxel_size(by_axis, dict(zip(axes, units or (), strict=False)), "nm")
