"""Reads a multi-page TIFF: plain, BigTIFF, OME-TIFF (all its files) or ImageJ hyperstack.

Pages are z, or t, c and z if the file says so.
"""

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images import tiff
from ingest_queue.images.damage import needing, reading
from ingest_queue.sources import Options, Place, Source
from ingest_queue.sources.arrays import AxisLayout, open_array, plan_layout
from ingest_queue.sources.checks import voxel_size
from ndlambda.errors import InvalidArgumentError

SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")

_LETTERS: Final = {"I": "z", "Q": "z"} | {letter: letter.lower() for letter in "TCZYXS"}
"""tifffile's axes; a series of unnamed pages (I, Q) is z."""

Page = tuple[Path, int]


@dataclass(frozen=True, slots=True)
class PagedSource:
    """Pages decoded one by one; see :class:`ingest_queue.sources.Source`.

    Attributes
    ----------
    pages
        File and offset of each page's header, in C order of the axes before the plane.
    layout
        Of those axes and the plane.
    """

    pages: tuple[Page, ...]
    layout: AxisLayout
    dtype: np.dtype
    voxelres_xyz: tuple[float, float, float] | None
    labels_allowed: bool

    @property
    def shape_tzyx(self) -> tuple[int, int, int, int]:
        """Size in voxels."""
        return self.layout.shape_tzyx

    def read(self, t: int, z0: int, z1: int) -> NDArray[np.generic]:
        """Read planes: (z, y, x)."""
        planes = np.empty((z1 - z0, *self.shape_tzyx[2:]), self.dtype)
        leading = [axis for axis in self.layout.axes if axis in "tcz"]
        sizes = tuple(self.layout.size(axis) for axis in leading)
        pages: dict[Path, list[tuple[int, int]]] = {}
        for z in range(z0, z1):
            at = {"t": t, "c": self.layout.channel, "z": z}
            where = tuple(at[axis] for axis in leading)
            file, offset = self.pages[int(np.ravel_multi_index(where, sizes)) if where else 0]
            pages.setdefault(file, []).append((offset, z - z0))
        for file, wanted in pages.items():
            _decode(file, wanted, planes)
        return planes


def matches(place: Place) -> bool:
    """Match by the suffix."""
    return place.is_file(*SUFFIXES)


def open_source(place: Place, options: Options) -> Source:
    """Read the page headers; see :func:`ingest_queue.sources.open_source`."""
    with needing("tifffile", "Reading TIFF"):
        import tifffile

    where = place.text
    with reading(where), tifffile.TiffFile(place.file) as file:
        series = file.series[0]
        if options.level >= len(series.levels):
            raise InvalidArgumentError(f"{where} has the levels 0 to {len(series.levels) - 1}.")
        series = series.levels[options.level]
        layout = _layout(where, series, options)
        voxelres = _voxel_size(file) if options.level == 0 else None
        if series.dataoffset is not None:  # as ImageJ writes: one page header, then all voxels
            stored = series.dtype.newbyteorder(file.byteorder)
            mapped = np.memmap(place.file, stored, "r", series.dataoffset, tuple(series.shape))
            shaped = mapped.reshape(layout.shape)
            return open_array(where, shaped, layout, voxelres)
        facts = tiff.describe(series.keyframe, where)
        pages = _list_pages(where, series, layout)
    return PagedSource(pages, layout, facts.dtype, voxelres, labels_allowed=not facts.lossy)


def _layout(where: str, series: Any, options: Options) -> AxisLayout:
    named = zip(series.axes, series.shape, strict=True)
    kept = [(axis, size) for axis, size in named if axis in _LETTERS or size != 1]
    axes = options.axes or "".join(_LETTERS.get(axis, axis) for axis, _ in kept)
    return plan_layout(where, axes, tuple(size for _, size in kept), options.channel)


def _list_pages(where: str, series: Any, layout: AxisLayout) -> tuple[Page, ...]:
    pages = [
        None if page is None else (Path(page.parent.filehandle.path), int(page.offset))
        for page in series.pages
    ]
    leading = prod(layout.size(axis) for axis in "tcz")
    plane = series.keyframe.axes.lower()
    if len(pages) != leading or not layout.axes.endswith(plane):
        raise InvalidArgumentError(
            f"{where} has {len(pages)} pages for the shape {tuple(series.shape)} (axes "
            f"{series.axes}); save one plane a page."
        )
    present = tuple(page for page in pages if page is not None)
    if len(present) < len(pages):
        message = f"{len(pages) - len(present)} of {len(pages)} planes are in no file"
        raise ValueError(message)
    return present


def _voxel_size(file: Any) -> tuple[float, float, float] | None:
    if file.ome_metadata:
        return _ome_voxel_size(file.ome_metadata)
    if not file.imagej_metadata:
        return None
    facts, tags = file.imagej_metadata, file.pages[0].tags
    sizes = {"z": float(facts.get("spacing", 0))} if "spacing" in facts else {}
    for axis in "xy":
        pixels, length = tags[f"{axis.upper()}Resolution"].value
        sizes[axis] = length / pixels if pixels else 0.0
    # ImageJ's unit; "pixel" and an empty text are not lengths.
    return voxel_size(sizes, {}, str(facts.get("unit", "")))


def _ome_voxel_size(xml: str) -> tuple[float, float, float] | None:
    """Read the first ``Pixels`` element; its default unit is µm (OME schema 2016-06)."""
    found = re.search(r"<(?:\w+:)?Pixels\b([^>]*)>", xml)
    facts = dict(re.findall(r'(\w+)="([^"]*)"', found[1])) if found else {}
    sizes = {
        axis: float(facts[f"PhysicalSize{axis.upper()}"])
        for axis in "xyz"
        if f"PhysicalSize{axis.upper()}" in facts
    }
    units = {axis: facts.get(f"PhysicalSize{axis.upper()}Unit", "µm") for axis in sizes}
    return voxel_size(sizes, units, "µm")


def _decode(file: Path, wanted: list[tuple[int, int]], planes: NDArray[np.generic]) -> None:
    import tifffile

    # Opened for each slab, so that a stack of many files does not hold all of them open.
    with reading(str(file)), tifffile.TiffFile(file) as opened:
        for offset, plane in wanted:
            # Not by number: that reads all headers before, and levels have no numbers.
            opened.filehandle.seek(offset)
            decoded = tiff.decode(tifffile.TiffPage(opened, 0), str(file))
            if decoded.shape != planes.shape[1:] or decoded.dtype != planes.dtype.newbyteorder("="):
                message = (
                    f"the page at {offset} is {decoded.shape} of {decoded.dtype}, others are not"
                )
                raise ValueError(message)
            planes[plane] = decoded
