"""Reads an image series of an NWB 2 file: ``f.nwb:/acquisition/TwoPhotonSeries``, or its only one.

The schema's axes of ``data`` are time, x, y(, z); files that differ need the option ``axes``.
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np

from ingest_queue.images.damage import reading
from ingest_queue.sources import Options, Place, Source
from ingest_queue.sources.arrays import open_array, plan_layout
from ingest_queue.sources.checks import voxel_size
from ingest_queue.sources.hdf5_stored import WholeFile, check_voxels
from ndlambda.errors import InvalidArgumentError

SUFFIXES = (".nwb",)
LACKS = ("level",)
HAS_PARTS = True

_SERIES: Final = frozenset({"ImageSeries", "OnePhotonSeries", "TwoPhotonSeries"})
_AXES: Final = {3: "txy", 4: "txyz"}


def matches(place: Place) -> bool:
    """Match by the suffix."""
    return place.is_file(*SUFFIXES)


def open_source(place: Place, options: Options) -> Source:
    """Read the file's tables; see :func:`ingest_queue.sources.open_source`."""
    import h5py

    where = place.text
    with reading(where):
        series = _find(place, h5py.File(place.file, "r"))
        data = series["data"]
        if series.get("external_file") is not None and data.size == 0:
            raise InvalidArgumentError(f"{where}: {series.name} has its images in other files.")
        files = check_voxels(where, data, options.gaps)
        voxelres = _voxel_size(series)
        array = WholeFile(data, place.file, place.file.stat().st_size)
    axes = options.axes or _AXES.get(data.ndim, "")
    layout = plan_layout(where, axes, data.shape, options.channel)
    return replace(open_array(where, array, layout, voxelres), other_files=files)


def _find(place: Place, file: Any) -> Any:
    found: dict[str, Any] = {}

    def collect(name: str, item: Any) -> None:
        kind = item.attrs.get("neurodata_type", "")
        if kind in _SERIES and "data" in item:
            found[name] = item

    file.visititems(collect)
    named = place.inside.removesuffix("/data")
    if named in found:
        return found[named]
    if len(found) == 1 and not place.inside:
        return next(iter(found.values()))
    raise InvalidArgumentError(
        f"{place.text}: name an image series, as in {place.file.name}:/acquisition/name. There are:"
        f" {', '.join(f'/{name}' for name in found) or 'none'}."
    )


def _voxel_size(series: Any) -> tuple[float, float, float] | None:
    """Read the grid spacing of the imaging plane: x, y(, z), by default in meters."""
    spacing = series.get("imaging_plane/grid_spacing")
    if spacing is None:
        return None
    sizes = dict(zip("xyz", map(float, np.ravel(spacing[()])), strict=False))
    return voxel_size(sizes, {}, str(spacing.attrs.get("unit", "meters")))
