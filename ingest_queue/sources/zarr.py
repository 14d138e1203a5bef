"""Reads Zarr v2 and v3 arrays and OME-Zarr images (0.4, 0.5) by tensorstore."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ingest_queue.images.damage import reading
from ingest_queue.sources import Options, Place, Source
from ingest_queue.sources.arrays import open_array, plan_layout
from ingest_queue.sources.checks import voxel_size
from ingest_queue.sources.tensors import open_tensor, read_json
from ndlambda.errors import InvalidArgumentError

SUFFIXES = (".zarr",)

_MARKS: Final = (".zarray", ".zgroup", ".zattrs", "zarr.json")
_AXES: Final = {2: "yx", 3: "zyx", 4: "tzyx", 5: "tczyx"}


@dataclass(frozen=True, slots=True)
class _Image:
    """An array of an OME-Zarr image, or a plain array."""

    folder: Path
    axes: str = ""
    sizes: dict[str, float] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)


def matches(place: Place) -> bool:
    """Match by the metadata files of the folder."""
    folder = place.folder
    return folder is not None and any((folder / mark).is_file() for mark in _MARKS)


def open_source(place: Place, options: Options) -> Source:
    """Read the metadata; see :func:`ingest_queue.sources.open_source`."""
    where, folder = place.text, place.folder
    assert folder is not None, "matched as a folder"
    image = _find_image(where, folder, options)
    version_2 = (image.folder / ".zarray").is_file()
    tensor = open_tensor(where, "zarr" if version_2 else "zarr3", image.folder)
    names = image.axes or _dimension_names(image.folder)
    axes = options.axes or names or _AXES.get(len(tensor.shape), "")
    layout = plan_layout(where, axes, tensor.shape, options.channel)
    return open_array(where, tensor, layout, voxel_size(image.sizes, image.units, ""))


def _find_image(where: str, folder: Path, options: Options) -> _Image:
    metadata = read_json(folder / "zarr.json")
    attributes = metadata.get("attributes", {}) | read_json(folder / ".zattrs")
    is_array = metadata.get("node_type") == "array" or (folder / ".zarray").is_file()
    if is_array:
        if options.level:
            raise InvalidArgumentError(f"{where} is one array and has no levels.")
        return _Image(folder)
    multiscales = attributes.get("ome", attributes).get("multiscales")
    if not multiscales:
        raise InvalidArgumentError(
            f"{where} is a group and no OME-Zarr image; name an array in it, as in "
            f"{folder.name}:/path."
        )
    with reading(where):
        return _of_multiscale(where, folder, multiscales[0], options.level)


def _of_multiscale(where: str, folder: Path, scale: dict[str, Any], level: int) -> _Image:
    datasets = scale["datasets"]
    if level >= len(datasets):
        raise InvalidArgumentError(f"{where} has the levels 0 to {len(datasets) - 1}.")
    dataset = datasets[level]
    # Before OME-Zarr 0.4 axes were names only, and before 0.3 always these five.
    axes = [
        axis if isinstance(axis, dict) else {"name": axis} for axis in scale.get("axes", "tczyx")
    ]
    names = "".join(str(axis["name"]).lower() for axis in axes)
    sizes = dict.fromkeys(names, 1.0)
    has_scale = False
    for step in (*dataset.get("coordinateTransformations", ()), *scale.get(_OVERALL, ())):
        if step["type"] == "scale":
            has_scale = True
            for name, factor in zip(names, step["scale"], strict=True):
                sizes[name] *= float(factor)
    units = {name: axis.get("unit", "") for name, axis in zip(names, axes, strict=True)}
    return _Image(folder / dataset["path"], names, sizes if has_scale else {}, units)


_OVERALL: Final = "coordinateTransformations"


def _dimension_names(folder: Path) -> str:
    """Return the axes of an array with single-letter names, as of xarray and Zarr v3."""
    names = read_json(folder / "zarr.json").get("dimension_names")
    names = names or read_json(folder / ".zattrs").get("_ARRAY_DIMENSIONS") or []
    letters = [str(name).lower() for name in names]
    return "".join(letters) if all(name in set("tczyx") for name in letters) else ""
