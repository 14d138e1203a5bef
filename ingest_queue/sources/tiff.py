"""Reads a multi-page TIFF: plain, BigTIFF, OME-TIFF (all its files) or ImageJ hyperstack.

Pages are z, or t, c and z if the file says so.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images import tiff
from ingest_queue.images.damage import needing, reading
from ingest_queue.sources import Options, Place, Source, ome
from ingest_queue.sources.arrays import AxisLayout, open_array, plan_layout
from ingest_queue.sources.checks import voxel_size
from ingest_queue.sources.file_array import FileArray
from ingest_queue.sources.tiff_stacks import PageStack, find_stack, page_at
from ndlambda.errors import InvalidArgumentError

SUFFIXES = (".tif", ".tiff", ".btf", ".tf8")
HAS_PARTS = True

_LETTERS: Final = {"I": "z", "Q": "z"} | {letter: letter.lower() for letter in "TCZYXS"}
"""tifffile's axes; a series of unnamed pages (I, Q) is z."""

Page = tuple[Path, int]
VoxelSize = tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class PagedSource:
    """Pages decoded one by one; see :class:`ingest_queue.sources.Source`.

    Attributes
    ----------
    pages
        File and offset of each page's header, in C order of the axes before the plane.
    layout
        Of those axes and the plane.
    decode
        Returns a page as a plane (y, x).
    """

    pages: tuple[Page, ...]
    layout: AxisLayout
    dtype: np.dtype
    voxelres_xyz: tuple[float, float, float] | None
    labels_allowed: bool
    decode: Callable[[Any, str], NDArray[np.generic]] = tiff.decode

    @property
    def second(self) -> "PagedSource":
        """The same pages, decoded by another library where one can."""
        return replace(self, decode=tiff.decode_again)

    @property
    def other_files(self) -> tuple[Path, ...]:
        """The files of an OME set."""
        return tuple(sorted({file for file, _ in self.pages}))

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
            self._decode(file, wanted, planes)
        return planes

    def _decode(
        self, file: Path, wanted: list[tuple[int, int]], planes: NDArray[np.generic]
    ) -> None:
        import tifffile

        # Opened for each slab, so that a stack of many files does not hold all of them open.
        with reading(str(file)), tifffile.TiffFile(file) as opened:
            for offset, plane in wanted:
                decoded = self.decode(page_at(opened, offset), str(file))
                found = decoded.shape, decoded.dtype
                if found != (planes.shape[1:], planes.dtype.newbyteorder("=")):
                    message = f"the page at {offset} is {found[0]} of {found[1]}, others are not"
                    raise ValueError(message)
                planes[plane] = decoded


def matches(place: Place) -> bool:
    """Match by the suffix."""
    return place.is_file(*SUFFIXES)


def open_source(place: Place, options: Options) -> Source:
    """Read the page headers; see :func:`ingest_queue.sources.open_source`."""
    with needing("tifffile", "Reading TIFF"):
        import tifffile

    where = place.text
    outer = str(place.file)
    with reading(where), tifffile.TiffFile(place.file) as file:
        described = ome.parse(file.ome_metadata) if file.ome_metadata else None
        whole = None if described is None or place.inside else ome.metadata_file(described)
        if whole is not None:
            raise InvalidArgumentError(
                f"{where} is one file of a set, which {whole} describes: open that one if it is a "
                f"TIFF file, or {where}:0 for the pages of this file alone."
            )
        stack = find_stack(outer, file, place.inside)
        series = stack.series
        levels = 1 if series is None else len(series.levels)
        if options.level >= levels:
            raise InvalidArgumentError(f"{where} has the levels 0 to {levels - 1}.")
        voxelres = _voxel_size(file, described) if options.level == 0 else None
        if series is None:
            return _open_planes(where, place.file, stack, options, voxelres)
        return _open_series(where, file, series.levels[options.level], options, voxelres)


def _open_planes(
    where: str, path: Path, stack: PageStack, options: Options, voxelres: VoxelSize
) -> Source:
    header = stack.header
    assert header is not None, "planes have a header"
    axes = options.axes or "zyx"
    layout = plan_layout(where, axes, (len(stack.offsets), *header.shape_yx), options.channel)
    pages = tuple((path, offset) for offset in stack.offsets)
    return PagedSource(pages, layout, header.dtype, voxelres, labels_allowed=not header.lossy)


def _open_series(
    where: str, file: Any, series: Any, options: Options, voxelres: VoxelSize
) -> Source:
    layout = _layout(where, series, options)
    path = Path(file.filehandle.path)
    if series.dataoffset is None:
        facts = tiff.describe(series.keyframe, where)
        pages = _list_pages(where, series, layout)
        return PagedSource(pages, layout, facts.dtype, voxelres, labels_allowed=not facts.lossy)
    # As ImageJ writes: one page header, then all voxels.
    stored = series.dtype.newbyteorder(file.byteorder)
    array = FileArray(path, stored, layout.shape, series.dataoffset)
    source = open_array(where, array, layout, voxelres)
    plane = series.keyframe
    if len(series) * plane.size != series.size or not layout.axes.endswith(plane.axes.lower()):
        return source
    pages = _list_pages(where, series, layout)
    paged = PagedSource(pages, layout, source.dtype, voxelres, labels_allowed=True)
    return replace(source, second=paged.second)


def _layout(where: str, series: Any, options: Options) -> AxisLayout:
    stored = zip(series.axes, series.shape, strict=True)
    kept = [(axis, size) for axis, size in stored if axis in _LETTERS or size != 1]
    named = "".join(_LETTERS.get(axis, axis) for axis, _ in kept)
    axes = options.axes or (named if named.count("z") < 2 else "")  # two without a name
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


def _voxel_size(file: Any, described: Any) -> VoxelSize:
    if described is not None:
        return ome.pixel_size(described)
    if file.shaped_metadata:  # tifffile's own, which may have OME's names
        return _named_size(file.shaped_metadata[0])
    if not file.imagej_metadata:
        return None
    facts, tags = file.imagej_metadata, file.pages[0].tags
    sizes = {"z": float(facts.get("spacing", 0))} if "spacing" in facts else {}
    for axis in "xy":
        # ImageJ writes none for a stack without a scale.
        pixels, length = tags.valueof(f"{axis.upper()}Resolution", (0, 1))
        sizes[axis] = length / pixels if pixels else 0.0
    # ImageJ's unit; "pixel" and an empty text are not lengths.
    return voxel_size(sizes, {}, str(facts.get("unit", "")))


def _named_size(facts: dict[str, Any]) -> VoxelSize:
    names = {axis: f"PhysicalSize{axis.upper()}" for axis in "xyz"}
    sizes = {axis: float(facts[name]) for axis, name in names.items() if name in facts}
    default = str(facts.get("unit", "µm"))
    units = {axis: str(facts.get(f"{names[axis]}Unit", default)) for axis in sizes}
    return voxel_size(sizes, units, default)
