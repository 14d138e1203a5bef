"""A folder of PNG or TIFF slices, one file a z plane, in natural order (``z9`` before ``z10``)."""

import re
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from ingest_queue.sources import Source
from ndlambda.errors import (
    DataTypeMismatchError,
    InvalidArgumentError,
    MalformedBodyError,
    ShapeMismatchError,
)

SUFFIXES = ("folder of .png", "folder of .tif")

Result = TypeVar("Result")

_THREADS: Final = 4
_PNG: Final = frozenset({".png"})
_TIFF: Final = frozenset({".tif", ".tiff"})
_PNG_DTYPES: Final = {"L": "uint8", "I;16": "<u2", "I;16B": "<u2", "I": "<u2"}
"""Pillow's grey modes of PNG files; PNG stores 1 to 16 bits, so mode I holds 16 as well."""


@dataclass(frozen=True, slots=True)
class Header:
    """What one slice says of itself."""

    shape_yx: tuple[int, int]
    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class SliceSource:
    """Files of one size and dtype; see :class:`ingest_queue.sources.Source`."""

    files: tuple[Path, ...]
    shape_tzyx: tuple[int, int, int, int]
    dtype: np.dtype
    voxelres_xyz: None = None

    def read(self, t: int, z0: int, z1: int) -> NDArray[np.generic]:
        """Read planes: (z, y, x); files are decoded in parallel."""
        assert t == 0, "a folder of slices has one time point"
        planes = np.empty((z1 - z0, *self.shape_tzyx[2:]), self.dtype)

        def decode(plane: int) -> None:
            planes[plane] = _read_pixels(self.files[z0 + plane])

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(decode, range(z1 - z0)))
        return planes


def matches(path: Path) -> bool:
    """Every folder is taken; what it holds is looked at on opening."""
    return path.is_dir()


def open_source(path: Path) -> Source:
    """Read the headers of all slices; see :func:`ingest_queue.sources.open_source`."""
    files = [file for file in path.iterdir() if file.suffix.lower() in _PNG | _TIFF]
    files = sorted((file for file in files if file.name[0] != "."), key=_natural_order)
    if not files:
        raise InvalidArgumentError(f"{path} has no .png or .tif slices in it.")
    kinds = {file.suffix.lower() in _PNG for file in files}
    if len(kinds) > 1:
        raise InvalidArgumentError(f"{path} has both .png and .tif files; keep one kind in it.")
    with ThreadPoolExecutor(_THREADS) as pool:
        headers = list(pool.map(_read_header, files))
    first = headers[0]
    for file, header in zip(files, headers, strict=True):
        if header.shape_yx != first.shape_yx:
            raise ShapeMismatchError(
                f"{file} is {_size(header)}, but {files[0].name} is {_size(first)} (width x height)"
                "; all slices must be of one size.",
                file=str(file),
            )
        if header.dtype != first.dtype:
            raise DataTypeMismatchError(
                f"{file} is {header.dtype.name}, but {files[0].name} is {first.dtype.name}; "
                "all slices must be of one dtype.",
                file=str(file),
            )
    return SliceSource(tuple(files), (1, len(files), *first.shape_yx), first.dtype)


def _natural_order(file: Path) -> tuple[list[str | int], str]:
    parts = re.split(r"(\d+)", file.stem.lower())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], file.name


def _size(header: Header) -> str:
    return f"{header.shape_yx[1]}x{header.shape_yx[0]}"


def _checked(file: Path, step: Callable[[Path], Result]) -> Result:
    try:
        return step(file)
    except (OSError, SyntaxError, ValueError, RuntimeError, struct.error) as error:
        raise MalformedBodyError(f"{file} cannot be read ({error}).", file=str(file)) from error


def _read_header(file: Path) -> Header:
    return _checked(file, _png_header if file.suffix.lower() in _PNG else _tiff_header)


def _read_pixels(file: Path) -> NDArray[np.generic]:
    return _checked(file, _png_pixels if file.suffix.lower() in _PNG else _tiff_pixels)


def _png_header(file: Path) -> Header:
    from PIL.PngImagePlugin import PngImageFile

    # Not Image.open: its guard against huge images refuses electron-microscopy slices.
    with PngImageFile(file) as image:
        if image.mode not in _PNG_DTYPES:
            raise InvalidArgumentError(
                f"{file} is not a grey image (mode {image.mode}); convert it to grey."
            )
        return Header((image.height, image.width), np.dtype(_PNG_DTYPES[image.mode]))


def _png_pixels(file: Path) -> NDArray[np.generic]:
    from PIL.PngImagePlugin import PngImageFile

    with PngImageFile(file) as image:
        return np.asarray(image)


def _tiff_header(file: Path) -> Header:
    import tifffile

    with tifffile.TiffFile(file) as image:
        page = image.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        if len(image.pages) != 1 or page.ndim != 2 or page.dtype is None:
            raise InvalidArgumentError(
                f"{file} has {len(image.pages)} pages of shape {page.shape}; a slice is one grey "
                "page (a multi-page file can be put by itself)."
            )
        height, width = page.shape
        return Header((height, width), page.dtype.newbyteorder("<"))


def _tiff_pixels(file: Path) -> NDArray[np.generic]:
    import tifffile

    return np.asarray(tifffile.imread(file))
