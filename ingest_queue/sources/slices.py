"""Reads a folder of slices, one image file a z plane, in natural order (``z9``, ``z10``).

If the names differ by one number only, that number is z, and none may be missing. If they differ by
several, which is z must be given; see :mod:`ingest_queue.sources.slice_names`.
"""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.decoder import SUFFIXES as IMAGE_SUFFIXES
from ingest_queue.images.decoder import Header, open_image, read_plane
from ingest_queue.sources import MissingSlices, Options, Place, Source
from ingest_queue.sources.slice_names import order_slices
from ndlambda.batches import spans_text
from ndlambda.errors import (
    DataTypeMismatchError,
    InvalidArgumentError,
    PayloadTooLargeError,
    ShapeMismatchError,
)

SUFFIXES = ("folder of slices (.png .tif .jpg .webp .jp2)", "one of them")
LACKS = ("level",)
FALLBACK = True  # reads every folder, and image, that no other source matches

_THREADS: Final = 4
_SAME: Final = {".tiff": ".tif", ".jpeg": ".jpg", ".j2k": ".jp2"}
_MAX_GAPS: Final = 1_000_000
"""With more missing planes the numbers are not z (dates, serial numbers)."""
_MAX_LISTED: Final = 32


@dataclass(frozen=True, slots=True)
class SliceSource:
    """Files of one size and dtype; see :class:`ingest_queue.sources.Source`.

    A plane without a file is zeros.

    Attributes
    ----------
    notes
        What a person should know of the folder.
    again
        Whether files are decoded by another way than at first, to verify by.
    """

    files: tuple[Path | None, ...]
    shape_tzyx: tuple[int, int, int, int]
    dtype: np.dtype
    labels_allowed: bool
    voxelres_xyz: None = None
    notes: tuple[str, ...] = ()
    again: bool = False

    @property
    def second(self) -> "SliceSource":
        """The same files, decoded by another way where there is one."""
        return replace(self, again=True)

    @property
    def file_sizes(self) -> list[int]:
        """Bytes of the existing files."""
        return [file.stat().st_size for file in self.files if file is not None and file.is_file()]

    def zero_file(self) -> bytes:
        """Return a TIFF file of a plane of zeros, which stands for a missing slice."""
        import tifffile

        file = io.BytesIO()
        plane = np.zeros(self.shape_tzyx[2:], self.dtype)
        tifffile.imwrite(file, plane, compression="zlib", photometric="minisblack")
        return file.getvalue()

    def read(self, t: int, z0: int, z1: int) -> NDArray[np.generic]:
        """Read planes: (z, y, x); files are decoded in parallel."""
        assert t == 0, "a folder of slices has one time point"
        planes = np.zeros((z1 - z0, *self.shape_tzyx[2:]), self.dtype)

        size_bytes = planes[0].nbytes

        def decode(plane: int) -> None:
            file = self.files[z0 + plane]
            if file is not None:
                with file.open("rb") as opened:
                    decoded = read_plane(opened, str(file), size_bytes, again=self.again)
                if decoded.shape != planes.shape[1:] or decoded.dtype != self.dtype:
                    raise ShapeMismatchError(
                        f"{file} is {_size(decoded.shape)} of {decoded.dtype}, not "
                        f"{_size(planes.shape[1:])} of {self.dtype} (width x height).",
                        file=str(file),
                    )
                planes[plane] = decoded

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(decode, range(z1 - z0)))
        return planes


def matches(place: Place) -> bool:
    """Match every folder, whose content is checked on opening, and an image of one plane."""
    return place.folder is not None or place.is_file(*IMAGE_SUFFIXES)


def open_source(place: Place, options: Options) -> Source:
    """Read the headers of all slices; see :func:`ingest_queue.sources.open_source`."""
    folder = place.folder or place.file
    listed, notes = ([folder], ()) if place.folder is None else _list_slices(folder)
    files, numbers = order_slices(folder, listed, options)
    read = _find_header if options.defer_faults else _read_header
    with ThreadPoolExecutor(_THREADS) as pool:
        found = [
            (file, *facts)
            for file, facts in zip(files, pool.map(read, files), strict=True)
            if facts
        ]
    if not found:
        _read_header(files[0])
    first_file, first, _ = found[0]
    for file, header, _ in () if options.defer_faults else found:
        _check_alike(file, header, first_file, first)
    planes = _with_gaps(folder, files, numbers, options.gaps)
    labels_allowed = not any(lossy for _, _, lossy in found)
    shape = (1, len(planes), *first.shape_yx)
    return SliceSource(planes, shape, first.dtype, labels_allowed, notes=notes)


def _list_slices(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Return the image files of a folder, and notes about what only looks like one."""
    listed = sorted(folder.iterdir()) if folder.is_dir() else ()
    named = [file for file in listed if file.suffix.lower() in IMAGE_SUFFIXES]
    named = [file for file in named if file.name[0] != "."]
    files = [file for file in named if not file.is_dir()]
    folders = [file for file in named if file not in set(files)]
    notes = tuple(f"{each} is a folder, not a slice, and is ignored." for each in folders)
    if not files:
        raise InvalidArgumentError(
            f"{folder} has no .png or .tif slices in it, nor .jpg, .webp or .jp2."
        )
    kinds = sorted({_SAME.get(file.suffix.lower(), file.suffix.lower()) for file in files})
    if len(kinds) > 1:
        raise InvalidArgumentError(
            f"{folder} has both {kinds[0]} and {kinds[1]} files; keep one kind in it."
        )
    return files, notes


def _read_header(file: Path) -> tuple[Header, bool]:
    with file.open("rb") as opened:
        image = open_image(opened, str(file))
        return image.header, image.lossy


def _find_header(file: Path) -> tuple[Header, bool] | None:
    try:
        return _read_header(file)
    except (InvalidArgumentError, PayloadTooLargeError, OSError):
        return None


def _check_alike(file: Path, header: Header, first_file: Path, first: Header) -> None:
    if header.shape_yx != first.shape_yx:
        raise ShapeMismatchError(
            f"{file} is {_size(header.shape_yx)}, but {first_file.name} is "
            f"{_size(first.shape_yx)} (width x height)"
            "; all slices must be of one size.",
            file=str(file),
        )
    if header.dtype != first.dtype:
        raise DataTypeMismatchError(
            f"{file} is {header.dtype.name}, but {first_file.name} is {first.dtype.name}; "
            "all slices must be of one dtype.",
            file=str(file),
        )


def _with_gaps(
    folder: Path, files: list[Path], numbers: list[int] | None, gaps: MissingSlices
) -> tuple[Path | None, ...]:
    if numbers is None:
        return tuple(files)
    twice = {first for first, second in pairwise(numbers) if first == second}
    if twice:
        raise InvalidArgumentError(f"{folder} has two slices of the number {min(twice)}.")
    span = numbers[-1] - numbers[0] + 1
    missing = span - len(numbers)
    if missing == 0 or gaps is MissingSlices.SKIP:
        return tuple(files)
    if gaps is MissingSlices.ERROR or missing > _MAX_GAPS:
        steps = pairwise(numbers)
        gaps_found = ((before + 1, after - 1) for before, after in steps if after > before + 1)
        listed, plural = spans_text(gaps_found, _MAX_LISTED), "s" * (missing > 1)
        raise InvalidArgumentError(
            f"{folder} lacks {missing} slice{plural}: {listed}. Add them, or let missing ones be "
            "zeros (gaps: zero) or closed up (gaps: skip).",
            missing=missing,
        )
    at = dict(zip(numbers, files, strict=True))
    return tuple(at.get(number) for number in range(numbers[0], numbers[-1] + 1))


def _size(shape_yx: tuple[int, ...]) -> str:
    return f"{shape_yx[1]}x{shape_yx[0]}"
