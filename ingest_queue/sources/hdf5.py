"""Reads a dataset of an HDF5 file: ``file.h5:/volumes/raw``, or its only image.

What programs agree on beyond HDF5 is followed: padding and extents of Imaris, unsigned voxels of
BigDataViewer, axes of ilastik and of HDF5's own labels.
"""

import json
import re
from dataclasses import replace
from itertools import chain
from typing import Any, Final

import numpy as np

from ingest_queue.images.damage import reading
from ingest_queue.sources import Options, Place, Source, imaris
from ingest_queue.sources.arrays import open_array, plan_layout
from ingest_queue.sources.checks import voxel_size
from ingest_queue.sources.hdf5_stored import WholeFile, check_voxels
from ndlambda.errors import InvalidArgumentError, NotFoundError

SUFFIXES = (".h5", ".hdf5", ".hdf", ".ims")
HAS_PARTS = True

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
        file = h5py.File(place.file, "r")
        found = [] if place.inside else imaris.find_datasets(where, file, options.level)
        if not found and options.level:
            raise InvalidArgumentError(f"{where} is no Imaris file and has no levels: name one.")
        datasets = list(chain(*found)) or [_find(where, file, place.inside)]
        files = [check_voxels(where, dataset, options.gaps) for dataset in datasets]
        dataset = datasets[0]
        if found:
            axes, read = options.axes or imaris.AXES, imaris.series(found)
        else:
            axes = options.axes or _named_axes(dataset) or _AXES.get(dataset.ndim, "")
            read = _as_meant(dataset)
        array = WholeFile(read, place.file, place.file.stat().st_size)
    layout = plan_layout(where, axes, array.shape, options.channel)
    source = open_array(where, array, layout, _voxel_size(where, dataset, axes))
    return replace(source, other_files=tuple(chain(*files)))


def _as_meant(dataset: Any) -> Any:
    """Return the dataset as Imaris or BigDataViewer mean it, if one of them has written it."""
    if (part := imaris.without_padding(dataset)) is not None:
        return part
    if dataset.dtype == np.int16 and re.fullmatch(r"/t\d{5}/s\d{2}/\d+/cells", dataset.name):
        return imaris.UnpaddedDataset(dataset, dataset.shape, np.dtype(np.uint16))
    return dataset


def _named_axes(dataset: Any) -> str:
    """Return the axes that the file names by single letters; empty if it does not."""
    tags = dataset.attrs.get("axistags")
    if tags is not None:
        names = [axis["key"].lower() for axis in json.loads(tags)["axes"]]
    else:
        names = [dimension.label.lower() for dimension in dataset.dims]
    return "".join(names) if all(name in set("tczyx") for name in names) else ""


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
            return imaris.find_voxel_size(dataset)
        for name, unit in (("resolution", "nm"), ("element_size_um", "um")):
            sizes = np.ravel(dataset.attrs.get(name, ()))
            spatial = [axis for axis in axes if axis in "zyx"]
            if len(sizes) == len(spatial):
                by_axis = dict(zip(spatial, map(float, sizes), strict=True))
                return voxel_size(by_axis, {}, unit)
    return None
