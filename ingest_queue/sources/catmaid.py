"""Reads CATMAID tiles of a folder or URL: tile source types 1 and 4, or a pattern of names.

A pattern names its parts in braces: ``http://host/stack/{z}/{row}_{col}_{res}.jpg`` (also ``y``
for row and ``x`` for col). A folder needs no pattern: ``z/row_col_res.ext`` and
``z/res/row_col.ext`` are recognized.
"""

import io
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.decoder import SUFFIXES as IMAGE_SUFFIXES
from ingest_queue.images.decoder import Header, open_image, read_image
from ingest_queue.sources import MissingSlices, Options, Place, Source
from ndlambda.client.transport.http import PooledTransport
from ndlambda.client.transport.session import Session
from ndlambda.errors import (
    DataTypeMismatchError,
    InvalidArgumentError,
    NotFoundError,
    ShapeMismatchError,
)

SUFFIXES = ("folder or URL pattern of CATMAID tiles",)
LACKS = ("channel",)

_THREADS: Final = 8
_TYPE_1: Final = re.compile(r"[0-9]+_[0-9]+_[0-9]+\.\w+")
_TYPE_4: Final = re.compile(r"[0-9]+_[0-9]+\.\w+")
_TILE: Final = re.compile(r"([0-9]+)_([0-9]+)")

Fetch = Callable[[str], bytes | None]
"""Returns a tile by its name, None if there is none."""


@dataclass(frozen=True, slots=True)
class TilePattern:
    """Names of tiles: a root as it is, then a text with z, row, col and res in braces."""

    root: str
    text: str

    def name(self, z: int, row: int, col: int, level: int) -> str:
        """Return the name of a tile."""
        values = {"z": z, "row": row, "y": row, "col": col, "x": col, "res": level}
        # Not str.format: the pattern is untrusted, and may have other braces.
        found = re.sub(r"\{(z|row|col|res|y|x)\}", lambda each: str(values[each[1]]), self.text)
        return self.root + found


@dataclass(frozen=True, slots=True)
class TileSource:
    """A stack of tiles of one size; see :class:`ingest_queue.sources.Source`.

    Attributes
    ----------
    pattern
        Names of the tiles.
    first_z
        Number of the first plane.
    tile_yx
        Size of a whole tile; tiles at the edges may be cut, or reach over the edge.
    """

    fetch: Fetch
    pattern: TilePattern
    first_z: int
    level: int
    tile_yx: tuple[int, int]
    shape_tzyx: tuple[int, int, int, int]
    dtype: np.dtype
    labels_allowed: bool
    gaps: MissingSlices
    voxelres_xyz: None = None

    def read(self, t: int, z0: int, z1: int) -> NDArray[np.generic]:
        """Read planes: (z, y, x); tiles are fetched in parallel."""
        assert t == 0, "CATMAID stacks have one time point"
        _, _, height, width = self.shape_tzyx
        planes = np.zeros((z1 - z0, height, width), self.dtype)
        tile_height, tile_width = self.tile_yx

        def paste(at: tuple[int, int, int]) -> None:
            z, row, col = at
            y, x = row * tile_height, col * tile_width
            part = planes[z, y : y + tile_height, x : x + tile_width]
            tile = self._tile(z0 + z, row, col)
            if tile is not None:
                rows, columns = part.shape
                if tile.shape[0] < rows or tile.shape[1] < columns:
                    raise ShapeMismatchError(
                        f"{self._name(z0 + z, row, col)} is {tile.shape[1]}x{tile.shape[0]}, not "
                        f"{columns}x{rows} (width x height)."
                    )
                part[...] = tile[:rows, :columns]

        rows, columns = -(-height // tile_height), -(-width // tile_width)
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(paste, np.ndindex(z1 - z0, rows, columns)))
        return planes

    def _name(self, z: int, row: int, col: int) -> str:
        return self.pattern.name(self.first_z + z, row, col, self.level)

    def _tile(self, z: int, row: int, col: int) -> NDArray[np.generic] | None:
        name = self._name(z, row, col)
        body = self.fetch(name)
        if body is None:
            if self.gaps is MissingSlices.ZERO:
                return None
            raise NotFoundError(
                f"{name} is missing; let missing tiles be zeros (gaps: zero) if that is meant."
            )
        tile_bytes = self.tile_yx[0] * self.tile_yx[1] * self.dtype.itemsize
        tile = read_image(body, name, tile_bytes)
        if tile.dtype != self.dtype:
            raise DataTypeMismatchError(f"{name} is {tile.dtype}, the others {self.dtype}.")
        return tile


def matches(place: Place) -> bool:
    """Match by the braces of a pattern, or the names in the folder of one plane."""
    if place.path is None:
        return "{z}" in place.text
    folder = place.folder
    return folder is not None and folder.is_dir() and _pattern_of(folder) is not None


def open_source(place: Place, options: Options) -> Source:
    """Read one tile's header, and list the folder; see ``ingest_queue.sources.open_source``."""
    folder = place.folder
    pattern = _given_pattern(place) if folder is None else _pattern_of(folder)
    assert pattern is not None, "matches() found it"
    fetch = _fetch_from(place) if place.is_url else _fetch_file
    if options.size_xyz is not None:
        x, y, z = options.size_xyz
        first_z, shape = 0, (1, z, y, x)
        first = _first_tile(fetch, pattern, 0, options.level)
    elif folder is not None:
        numbers = _planes(folder)
        first_z, depth = numbers[0], numbers[-1] - numbers[0] + 1
        first = _first_tile(fetch, pattern, first_z, options.level)
        shape = (1, depth, *_plane_shape(fetch, pattern, first_z, options.level, first[0]))
    else:
        raise InvalidArgumentError(f"{place.text} cannot be listed; give its size in voxels x,y,z.")
    header, lossy = first
    return TileSource(
        fetch=fetch,
        pattern=pattern,
        first_z=first_z,
        level=options.level,
        tile_yx=header.shape_yx,
        shape_tzyx=shape,
        dtype=header.dtype,
        labels_allowed=not lossy,
        gaps=options.gaps,
    )


def _planes(folder: Path) -> list[int]:
    return sorted(int(item.name) for item in folder.iterdir() if item.name.isdecimal())


def _given_pattern(place: Place) -> TilePattern:
    """Return a pattern whose leading folders are taken as they are where such ones exist."""
    text = place.text
    roots = () if place.is_url else [n for n, letter in enumerate(text, 1) if letter == "/"]
    existing = [n for n in roots if Path(text[:n]).is_dir() and "{z}" in text[n:]]
    return TilePattern(text[: max(existing, default=0)], text[max(existing, default=0) :])


def _pattern_of(folder: Path) -> TilePattern | None:
    numbers = _planes(folder)
    if not numbers:
        return None
    plane = folder / str(numbers[0])
    for item in sorted(plane.iterdir()) if plane.is_dir() else ():
        if item.suffix.lower() in IMAGE_SUFFIXES and _TYPE_1.fullmatch(item.name):
            return TilePattern(f"{folder}/", f"{{z}}/{{row}}_{{col}}_{{res}}{item.suffix}")
        inner = sorted(item.iterdir()) if item.is_dir() and item.name.isdecimal() else ()
        for tile in inner:
            if tile.suffix.lower() in IMAGE_SUFFIXES and _TYPE_4.fullmatch(tile.name):
                return TilePattern(f"{folder}/", f"{{z}}/{{res}}/{{row}}_{{col}}{tile.suffix}")
    return None


def _first_tile(fetch: Fetch, pattern: TilePattern, z: int, level: int) -> tuple[Header, bool]:
    name = pattern.name(z, 0, 0, level)
    body = fetch(name)
    if body is None:
        raise NotFoundError(f"{name} is missing; the first tile says what the others are.")
    image = open_image(io.BytesIO(body), name)
    return image.header, image.lossy


def _plane_shape(
    fetch: Fetch, pattern: TilePattern, z: int, level: int, tile: Header
) -> tuple[int, int]:
    """Return the size (y, x) of the first plane from its whole tiles and its last tile."""
    sample = Path(pattern.name(z, 0, 0, level))
    ending = f"_{level}" if "{row}_{col}_{res}" in pattern.text else ""
    found = [
        (int(match[1]), int(match[2]))
        for item in sample.parent.glob(f"*{sample.suffix}")
        if (match := re.fullmatch(rf"([0-9]+)_([0-9]+){ending}", item.stem))
    ]
    last_row, last_col = max(row for row, _ in found), max(col for _, col in found)
    body = fetch(pattern.name(z, last_row, last_col, level))
    corner = tile if body is None else open_image(io.BytesIO(body), sample.name).header
    (height, width), (edge_height, edge_width) = tile.shape_yx, corner.shape_yx
    return last_row * height + edge_height, last_col * width + edge_width


def _fetch_file(name: str) -> bytes | None:
    file = Path(name)
    return file.read_bytes() if file.is_file() else None


def _fetch_from(place: Place) -> Fetch:
    parts = urlsplit(place.text)
    session = Session(f"{parts.scheme}://{parts.netloc}", None, PooledTransport(_THREADS))

    def fetch(name: str) -> bytes | None:
        try:
            return session.request("GET", name.removeprefix(session.url)).body
        except NotFoundError:
            return None

    return fetch
