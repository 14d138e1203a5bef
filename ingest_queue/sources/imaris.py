"""Reads an Imaris file: HDF5 with a dataset for each resolution, time point and channel.

``DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data``; Imaris 5.5 file format.
"""

from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.sources.checks import voxel_size
from ndlambda.errors import InvalidArgumentError

AXES: Final = "tczyx"

_ROOT: Final = "DataSet"


@dataclass(frozen=True, slots=True)
class UnpaddedDataset:
    """A dataset without its padding, in the dtype that is meant."""

    dataset: Any
    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read what is indexed."""
        bounds = (
            slice(*each.indices(size)) if isinstance(each, slice) else each
            for each, size in zip(index, self.shape, strict=True)
        )
        return np.asarray(self.dataset[tuple(bounds)]).view(self.dtype)


@dataclass(frozen=True, slots=True)
class DatasetSeries:
    """Datasets of one shape and dtype as an array (t, c, z, y, x)."""

    parts: tuple[tuple[Any, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of time points and channels, and the shape of each dataset."""
        return len(self.parts), len(self.parts[0]), *self.parts[0][0].shape

    @property
    def dtype(self) -> np.dtype:
        """Of all datasets."""
        found: np.dtype = np.dtype(self.parts[0][0].dtype)
        return found

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        """Read from the one dataset that two integers name."""
        return np.asarray(self.parts[index[0]][index[1]][index[2:]])


def find_datasets(where: str, file: Any, level: int) -> list[list[Any]]:
    """Return the datasets of a resolution by time point and channel; none if it is no Imaris file.

    Raises
    ------
    InvalidArgumentError
        There is no such resolution.
    ValueError
        A time point or a channel is missing among the others.
    """
    levels = file.get(_ROOT)
    if levels is None or "ResolutionLevel 0" not in levels:
        return []
    resolution = levels.get(f"ResolutionLevel {level}")
    if resolution is None:
        raise InvalidArgumentError(f"{where} has the levels 0 to {len(levels) - 1}.")
    found = [
        [channel["Data"] for channel in _numbered(time, "Channel")]
        for time in _numbered(resolution, "TimePoint")
    ]
    if not found or not found[0] or len({len(channels) for channels in found}) > 1:
        message = f"{resolution.name} has time points of {sorted(map(len, found))} channels"
        raise ValueError(message)
    return found


def series(datasets: list[list[Any]]) -> DatasetSeries:
    """Return the datasets as one array.

    Raises
    ------
    ValueError
        Their sizes or dtypes differ.
    """
    parts = [[without_padding(dataset) or dataset for dataset in each] for each in datasets]
    first = parts[0][0]
    for dataset, part in zip(chain(*datasets), chain(*parts), strict=True):
        if (part.shape, part.dtype) != (first.shape, first.dtype):
            message = (
                f"{dataset.name} is {part.shape} of {part.dtype}, others are {first.shape} of "
                f"{first.dtype}"
            )
            raise ValueError(message)
    return DatasetSeries(tuple(map(tuple, parts)))


def without_padding(dataset: Any) -> UnpaddedDataset | None:
    """Return the image in a dataset of Imaris, which fills its last chunks up; None in others.

    Raises
    ------
    ValueError
        The image is larger than what is stored.
    """
    attributes = dataset.parent.attrs
    sizes = tuple(int(_text(attributes.get(f"ImageSize{axis}", "0"))) for axis in "ZYX")
    if dataset.ndim != 3 or not all(sizes):
        return None
    if any(size > stored for size, stored in zip(sizes, dataset.shape, strict=True)):
        message = f"{dataset.name} has the shape {dataset.shape} for an image of {sizes}"
        raise ValueError(message)
    return UnpaddedDataset(dataset, sizes, dataset.dtype)


def find_voxel_size(dataset: Any) -> tuple[float, float, float] | None:
    """Return the voxel size (x, y, z) in nm; None if it is not known.

    The extents of the image, which hold for every resolution, are divided by its size.
    """
    facts, attributes = dataset.file["DataSetInfo/Image"].attrs, dataset.parent.attrs
    if "ExtMin0" not in facts or "ImageSizeX" not in attributes:
        return None
    sizes = {
        axis: (float(_text(facts[f"ExtMax{n}"])) - float(_text(facts[f"ExtMin{n}"])))
        / int(_text(attributes[f"ImageSize{axis.upper()}"]))
        for n, axis in enumerate("xyz")
    }
    return voxel_size(sizes, {}, _text(facts.get("Unit", "um")))


def _numbered(group: Any, name: str) -> list[Any]:
    """Return the groups ``name 0``, ``name 1``... of a group; all that have the name."""
    count = sum(key.startswith(f"{name} ") for key in group)
    return [group[f"{name} {number}"] for number in range(count)]


def _text(value: Any) -> str:
    """Return an attribute as text; Imaris writes an array of single characters."""
    return np.asarray(value, "S").tobytes().decode() if np.ndim(value) else str(value)
