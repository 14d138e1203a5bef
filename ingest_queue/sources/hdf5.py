"""Reads a dataset of an HDF5 file: ``file.h5:/volumes/raw``, or its only image.

What programs agree on beyond HDF5 is followed: padding and extents of Imaris, unsigned voxels of
BigDataViewer, axes of ilastik and of HDF5's own labels.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.damage import reading
from ingest_queue.sources import MissingSlices, Options, Place, Source
from ingest_queue.sources.arrays import open_array, plan_layout
from ingest_queue.sources.checks import voxel_size
from ndlambda.errors import InvalidArgumentError, NotFoundError

SUFFIXES = (".h5", ".hdf5", ".hdf", ".ims")

_AXES: Final = {2: "yx", 3: "zyx", 4: "tzyx", 5: "tczyx"}
_MAX_LISTED: Final = 10
_FILTERS: Final = {
    307: "bzip2",
    32000: "LZF",
    32001: "blosc",
    32004: "LZ4",
    32008: "bitshuffle",
    32013: "ZFP",
    32015: "Zstandard",
    32017: "SZ",
    32026: "blosc2",
}
"""Filters registered with the HDF Group."""


def matches(place: Place) -> bool:
    """Match by the suffix."""
    return place.is_file(*SUFFIXES)


def open_source(place: Place, options: Options) -> Source:
    """Read the file's tables; see :func:`ingest_queue.sources.open_source`."""
    import h5py

    where = place.text
    with reading(where):
        dataset = _find(where, h5py.File(place.file, "r"), place.inside)
        check_voxels(where, dataset, options.gaps)
        axes = options.axes or _named_axes(dataset) or _AXES.get(dataset.ndim, "")
        array = WholeFile(_as_meant(dataset), place.file, place.file.stat().st_size)
    layout = plan_layout(where, axes, array.shape, options.channel)
    return open_array(where, array, layout, _voxel_size(where, dataset, axes))


@dataclass(frozen=True, slots=True)
class WholeFile:
    """An array in a file that may not become shorter: HDF5 reads zeros behind its end.

    Attributes
    ----------
    array
        Indexed with integers and slices.
    path, size_bytes
        The file, and its length when the array was opened.
    """

    array: Any
    path: Path
    size_bytes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array."""
        dtype: np.dtype[Any] = self.array.dtype
        return dtype

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read what is indexed.

        Raises
        ------
        EOFError
            The file is shorter than before.
        """
        found = np.asarray(self.array[index])
        if self.path.stat().st_size < self.size_bytes:
            message = f"it is shorter than the {self.size_bytes} bytes that it had"
            raise EOFError(message)
        return found


@dataclass(frozen=True, slots=True)
class _Part:
    """A dataset without its padding, in the dtype that is meant."""

    dataset: Any
    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        bounds = (
            slice(*each.indices(size)) if isinstance(each, slice) else each
            for each, size in zip(index, self.shape, strict=True)
        )
        return np.asarray(self.dataset[tuple(bounds)]).view(self.dtype)


def _as_meant(dataset: Any) -> Any:
    """Return the dataset as Imaris or BigDataViewer mean it, if one of them has written it."""
    attributes = dataset.parent.attrs
    sizes = tuple(int(_text(attributes.get(f"ImageSize{axis}", "0"))) for axis in "ZYX")
    if dataset.ndim == 3 and all(sizes):  # Imaris fills its last chunks up
        if any(size > stored for size, stored in zip(sizes, dataset.shape, strict=True)):
            message = f"{dataset.name} has the shape {dataset.shape} for an image of {sizes}"
            raise ValueError(message)
        return _Part(dataset, sizes, dataset.dtype)
    if dataset.dtype == np.int16 and re.fullmatch(r"/t\d{5}/s\d{2}/\d+/cells", dataset.name):
        return _Part(dataset, dataset.shape, np.dtype(np.uint16))
    return dataset


def _text(value: Any) -> str:
    """Return an attribute as text; Imaris writes an array of single characters."""
    return np.asarray(value, "S").tobytes().decode() if np.ndim(value) else str(value)


def _named_axes(dataset: Any) -> str:
    """Return the axes that the file names by single letters; empty if it does not."""
    tags = dataset.attrs.get("axistags")
    if tags is not None:
        names = [axis["key"].lower() for axis in json.loads(tags)["axes"]]
    else:
        names = [dimension.label.lower() for dimension in dataset.dims]
    return "".join(names) if all(name in set("tczyx") for name in names) else ""


def check_voxels(where: str, dataset: Any, gaps: MissingSlices) -> None:
    """Check that the voxels of a dataset can be read, and are there.

    Raises
    ------
    InvalidArgumentError
        A filter is missing, or HDF5 would read its fill value and gaps may not be zeros.
    """
    _check_filters(where, dataset)
    _check_stored(where, dataset, gaps)


def _check_filters(where: str, dataset: Any) -> None:
    """Check that what compresses the voxels is installed."""
    import h5py

    stored = dataset.id.get_create_plist()
    for number in range(stored.get_nfilters()):
        code = stored.get_filter(number)[0]
        if not h5py.h5z.filter_avail(code):
            name = _FILTERS.get(code, "unknown")
            raise InvalidArgumentError(
                f"{where}: {dataset.name} is compressed by filter {code} ({name}), which is not "
                "installed; install hdf5plugin and set HDF5_PLUGIN_PATH to its plugins, or save "
                "the dataset with gzip (h5repack -f GZIP=4).",
                filter=code,
            )


def _check_stored(where: str, dataset: Any, gaps: MissingSlices) -> None:
    """Check that voxels were written, and are there: HDF5 reads others as its fill value."""
    if gaps is MissingSlices.ZERO or dataset.size == 0:
        return
    zeros = "read it with gaps: zero (--gaps zero) if that is meant."
    if not dataset.is_virtual:
        if dataset.id.get_storage_size() == 0 and not dataset.external:
            raise InvalidArgumentError(
                f"{where}: no voxel of {dataset.name} was ever written; {zeros}"
            )
        return
    folder = Path(dataset.file.filename).parent
    for file in sorted({source.file_name for source in dataset.virtual_sources()}):
        if file != "." and "%" not in file and not (folder / file).is_file():
            raise InvalidArgumentError(
                f"{where}: {dataset.name} takes voxels from {file}, which is not there; {zeros}"
            )


def _find(where: str, file: Any, inside: str) -> Any:
    import h5py

    if inside:
        found = file.get(inside)
        if not isinstance(found, h5py.Dataset):
            raise NotFoundError(f"{where}: the file has no dataset /{inside}.")
        return found
    images: list[Any] = []

    def collect(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim in _AXES and item.dtype.kind in "buif":
            images.append(item)

    file.visititems(collect)
    if len(images) != 1:
        listed = ", ".join(item.name for item in images[:_MAX_LISTED])
        raise InvalidArgumentError(
            f"{where} has {len(images)} datasets that could be images; name one, as in "
            f"{where}:/volume. There are: {listed or 'none'}."
        )
    return images[0]


def _voxel_size(where: str, dataset: Any, axes: str) -> tuple[float, float, float] | None:
    """Read ``resolution`` (nm, as CREMI's files have) or ``element_size_um`` (Fiji's, ilastik's).

    Both are in the order z, y, x.
    """
    with reading(where):
        if "DataSetInfo/Image" in dataset.file:
            return _imaris_voxel_size(dataset)
        for name, unit in (("resolution", "nm"), ("element_size_um", "um")):
            sizes = np.ravel(dataset.attrs.get(name, ()))
            spatial = [axis for axis in axes if axis in "zyx"]
            if len(sizes) == len(spatial):
                by_axis = dict(zip(spatial, map(float, sizes), strict=True))
                return voxel_size(by_axis, {}, unit)
    return None


def _imaris_voxel_size(dataset: Any) -> tuple[float, float, float] | None:
    """Divide the extents of the image by its size; they hold for every resolution."""
    facts, attributes = dataset.file["DataSetInfo/Image"].attrs, dataset.parent.attrs
    if "ExtMin0" not in facts or "ImageSizeX" not in attributes:
        return None
    sizes = {
        axis: (float(_text(facts[f"ExtMax{n}"])) - float(_text(facts[f"ExtMin{n}"])))
        / int(_text(attributes[f"ImageSize{axis.upper()}"]))
        for n, axis in enumerate("xyz")
    }
    return voxel_size(sizes, {}, _text(facts.get("Unit", "um")))
