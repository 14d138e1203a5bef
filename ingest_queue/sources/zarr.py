"""Reads Zarr v2 and v3 arrays and OME-Zarr images (0.4, 0.5) by tensorstore."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ingest_queue.images.damage import reading
from ingest_queue.sources import MissingSlices, Options, Place, Source
from ingest_queue.sources.arrays import open_array, plan_layout
from ingest_queue.sources.checks import voxel_size
from ingest_queue.sources.tensors import (
    Tensor,
    check_chunks,
    chunk_names,
    has_chunk,
    open_tensor,
    read_json,
)
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
    tensor = _open(where, image.folder, options.gaps)
    names = image.axes or _dimension_names(image.folder)
    axes = options.axes or names or _AXES.get(len(tensor.shape), "")
    layout = plan_layout(where, axes, tensor.shape, options.channel)
    return open_array(where, tensor, layout, voxel_size(image.sizes, image.units, ""))


def _open(where: str, folder: Path, gaps: MissingSlices) -> Tensor:
    """Open an array by the names that its chunks have, and check that there is one."""
    version_2 = read_json(folder / ".zarray")
    if not version_2:
        with reading(where):
            metadata = read_json(folder / "zarr.json")
            encoding, axes = metadata.get("chunk_key_encoding", {}), len(metadata["shape"])
            plain = encoding.get("name") == "v2"
            separator = encoding.get("configuration", {}).get("separator", "." if plain else "/")
        tensor = open_tensor(where, "zarr3", folder)
        _check_no_others(where, folder, axes, separator, "" if plain else "c")
        check_chunks(where, folder, chunk_names(axes, separator, "" if plain else "c"), gaps)
        return tensor
    with reading(where):
        axes, separator = len(version_2["shape"]), version_2.get("dimension_separator")
    if separator is None:
        # Older than that key are arrays with nested chunks, which are found by looking.
        separator = "/" if axes > 1 and has_chunk(folder, chunk_names(axes, "/")) else "."
    _check_no_others(where, folder, axes, separator)
    tensor = open_tensor(where, "zarr", folder, key_encoding=separator)
    check_chunks(where, folder, chunk_names(axes, separator), gaps)
    return tensor


def _check_no_others(where: str, folder: Path, axes: int, separator: str, prefix: str = "") -> None:
    """Refuse chunk files of the form that is not the array's: they would be left out."""
    other = "." if separator == "/" else "/"
    names = chunk_names(axes, other, prefix)
    if axes > 1 and folder.is_dir() and has_chunk(folder, names):
        raise InvalidArgumentError(
            f"{where} has chunk files like 0{other}0, while its own are like 0{separator}0: they "
            "would not be read. Remove those that do not belong to it, or correct its metadata."
        )


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
        return _of_multiscale(where, folder, multiscales[0], options)


def _of_multiscale(where: str, folder: Path, scale: dict[str, Any], options: Options) -> _Image:
    datasets, level = scale["datasets"], options.level
    if level >= len(datasets):
        raise InvalidArgumentError(f"{where} has the levels 0 to {len(datasets) - 1}.")
    dataset = datasets[level]
    # Before OME-Zarr 0.4 axes were names only, and before 0.3 always these five.
    axes = [
        axis if isinstance(axis, dict) else {"name": axis} for axis in scale.get("axes", "tczyx")
    ]
    names = options.axes or _letters(axes)
    if len(names) != len(axes):
        listed = ", ".join(str(axis["name"]) for axis in axes)
        raise InvalidArgumentError(
            f"{where} has the axes {listed}; say which they are by letters, as in tczyx "
            "(--from-axes of the commands)."
        )
    sizes = dict.fromkeys(names, 1.0)
    has_scale = False
    for step in (*dataset.get("coordinateTransformations", ()), *scale.get(_OVERALL, ())):
        if step["type"] == "scale":
            has_scale = True
            for name, factor in zip(names, step["scale"], strict=True):
                sizes[name] *= float(factor)
    units = {name: axis.get("unit", "") for name, axis in zip(names, axes, strict=True)}
    return _Image(folder / dataset["path"], names, sizes if has_scale else {}, units)


def _letters(axes: list[dict[str, Any]]) -> str:
    """Return a letter for each axis by its name, else by its type; fewer if one is unknown.

    Axes of space come in the order z, y, x (OME-Zarr 0.4, section 3.4).
    """
    names = [_letter(axis["name"]) for axis in axes]
    spatial = [n for n, axis in enumerate(axes) if axis.get("type") == "space"]
    if not all(names[n] for n in spatial):
        for n, letter in zip(reversed(spatial), "xyz", strict=False):
            names[n] = letter
    by_type = {"time": "t", "channel": "c"}
    return "".join(
        name or by_type.get(axis.get("type", ""), "")
        for name, axis in zip(names, axes, strict=True)
    )


def _letter(name: Any) -> str:
    word = str(name).lower()
    return word if word in _WORDS.values() else _WORDS.get(word, "")


_OVERALL: Final = "coordinateTransformations"
_WORDS: Final = {"time": "t", "channel": "c", "depth": "z", "height": "y", "width": "x"}


def _dimension_names(folder: Path) -> str:
    """Return the axes of an array with known names, as of xarray and Zarr v3; else empty."""
    names = read_json(folder / "zarr.json").get("dimension_names")
    names = names or read_json(folder / ".zattrs").get("_ARRAY_DIMENSIONS") or []
    letters = "".join(_letter(name) for name in names)
    return letters if len(letters) == len(names) else ""
