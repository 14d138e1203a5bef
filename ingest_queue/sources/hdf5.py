"""Reads a dataset of an HDF5 file: ``file.h5:/volumes/raw``, or its only image."""

from typing import Any, Final

import numpy as np

from ingest_queue.images.damage import reading
from ingest_queue.sources import Options, Place, Source
from ingest_queue.sources.arrays import open_array, plan_layout
from ingest_queue.sources.checks import voxel_size
from ndlambda.errors import InvalidArgumentError, NotFoundError

SUFFIXES = (".h5", ".hdf5", ".hdf", ".ims")

_AXES: Final = {2: "yx", 3: "zyx", 4: "tzyx", 5: "tczyx"}
_MAX_LISTED: Final = 10


def matches(place: Place) -> bool:
    """Match by the suffix."""
    return place.is_file(*SUFFIXES)


def open_source(place: Place, options: Options) -> Source:
    """Read the file's tables; see :func:`ingest_queue.sources.open_source`."""
    import h5py

    where = place.text
    with reading(where):
        dataset = _find(where, h5py.File(place.file, "r"), place.inside)
    axes = options.axes or _AXES.get(dataset.ndim, "")
    layout = plan_layout(where, axes, dataset.shape, options.channel)
    return open_array(where, dataset, layout, _voxel_size(where, dataset, axes))


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
        for name, unit in (("resolution", "nm"), ("element_size_um", "um")):
            sizes = np.ravel(dataset.attrs.get(name, ()))
            spatial = [axis for axis in axes if axis in "zyx"]
            if len(sizes) == len(spatial):
                by_axis = dict(zip(spatial, map(float, sizes), strict=True))
                return voxel_size(by_axis, {}, unit)
    return None
