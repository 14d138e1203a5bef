"""Describes and decodes pages of TIFF files."""

from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.colours import as_voxels, packed, stored_dtype
from ingest_queue.images.tiff_by_pillow import decode_by_pillow
from ingest_queue.images.tiff_chain import page_offsets
from ndlambda.errors import InvalidArgumentError

_COLOUR_AXES: Final = frozenset({"YXS", "SYX"})
_LOSSLESS: Final = frozenset({1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000})
"""Uncompressed, CCITT, LZW, deflate, PackBits, LZMA and Zstd; others may be lossy."""
_TILE_SLACK_BYTES: Final = 1 << 26
"""A tile may be larger than the page, but only so much, or it could exhaust memory."""
_FOREIGN_COLOURS: Final = frozenset({5, 8, 9, 10})
"""Photometric interpretations whose samples are no RGB: CMYK, and three of CIE L*a*b*."""


@dataclass(frozen=True, slots=True)
class PageHeader:
    """Size (y, x) and voxel dtype of a page, and whether it is lossy or bilevel (0 and 255)."""

    shape_yx: tuple[int, int]
    dtype: np.dtype
    lossy: bool


def describe(page: Any, where: str) -> PageHeader:
    """Return the header of a tifffile page; reads no pixels.

    Raises
    ------
    ValueError
        The tags contradict one another.
    InvalidArgumentError
        The pixel format is not supported: a palette, several channels, 16-bit colours.
    """
    axes, shape, samples = page.axes, page.shape, page.dtype
    photometric, lossless = int(page.photometric), not _lossy(page)
    if samples is None or photometric == 3:  # a palette
        raise InvalidArgumentError(f"{where} has a palette or no dtype; convert it to grey.")
    # Of lossy codecs RGB comes back, whatever they stored.
    if photometric in _FOREIGN_COLOURS or (photometric == 6 and lossless):
        raise InvalidArgumentError(
            f"{where} stores its colours as {page.photometric.name}; convert it to RGB."
        )
    if axes == "YX":
        changed = not lossless or samples.kind == "b"
        facts = PageHeader((shape[0], shape[1]), stored_dtype(samples), changed)
    elif axes in _COLOUR_AXES and samples == np.uint8 and shape[axes.index("S")] in {3, 4}:
        height, width = shape[axes.index("Y")], shape[axes.index("X")]
        facts = PageHeader((height, width), np.dtype("<u4"), _lossy(page))
    else:
        raise InvalidArgumentError(
            f"{where} has pages of shape {shape} (axes {axes}) and {samples}; a page is grey, or "
            "RGB of 8 bits a colour."
        )
    sizes: tuple[Any, ...] = facts.shape_yx
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        message = f"a size of {facts.shape_yx}"  # a tag with several values
        raise ValueError(message)
    segment_bytes = prod(page.chunks) * samples.itemsize
    if page.is_tiled and segment_bytes > max(page.nbytes, _TILE_SLACK_BYTES):
        message = f"one tile of {segment_bytes} bytes in an image of {page.nbytes}"
        raise ValueError(message)
    return facts


def count_planes(file: Any, stream: BinaryIO) -> int:
    """Return the number of planes that a tifffile file holds or declares.

    Raises
    ------
    ValueError
        Its list of pages is broken, so later pages may be lost.
    """
    pages = len(page_offsets(stream))
    if pages > 1 or not (file.is_imagej or file.is_shaped):
        return pages
    # One page header may stand for all planes, some of which may be cut off.
    declared = (file.imagej_metadata or {}).get("images", 1)
    return int(max(declared, file.series[0].size // file.pages[0].size))


def _lossy(page: Any) -> bool:
    return int(page.compression) not in _LOSSLESS


def decode(page: Any, where: str) -> NDArray[np.generic]:
    """Decode a page to (y, x); colours are one uint32 a voxel.

    Raises
    ------
    ValueError, and what tifffile raises
        Its segments are missing or damaged.
    InvalidArgumentError
        imagecodecs is needed and not installed.
    """
    _check_segments(page)
    samples = _by_tifffile(page)
    if samples is None:
        samples = decode_by_pillow(page)
    if samples is None:
        raise InvalidArgumentError(
            f"{where} (TIFF compression {page.compression.name}, {page.bitspersample} bits, "
            f"{page.photometric.name}) needs imagecodecs: pip install 'ndlambda[ingest]'.",
            library="imagecodecs",
        )
    return _as_plane(page, samples)


def decode_again(page: Any, where: str) -> NDArray[np.generic]:
    """Decode a page as :func:`decode` does, by another library if there is one that can.

    Not what is lossy: decoders may round differently.
    """
    samples = None if _lossy(page) else decode_by_pillow(page)
    return decode(page, where) if samples is None else _as_plane(page, samples)


def _by_tifffile(page: Any) -> NDArray[Any] | None:
    """Decode by tifffile; None if that needs imagecodecs, which is not installed."""
    import tifffile

    compressions, predictors = tifffile.TIFF.DECOMPRESSORS, tifffile.TIFF.UNPREDICTORS
    if page.compression not in compressions or page.predictor not in predictors:
        return None
    try:
        samples: NDArray[Any] = page.asarray()
    except (ImportError, NotImplementedError):  # samples of a few bits, and codecs of Python 3.14
        return None
    return samples


def _as_plane(page: Any, samples: NDArray[Any]) -> NDArray[np.generic]:
    if samples.ndim == 2:
        return as_voxels(samples)
    colours = samples if page.axes == "YXS" else np.moveaxis(samples, 0, -1)
    return packed(colours)


def _check_segments(page: Any) -> None:
    """Check that every strip or tile exists: tifffile reads missing ones as zeros."""
    expected = prod(page.chunked)
    offsets, counts = page.dataoffsets, page.databytecounts
    if len(offsets) < expected or len(counts) < expected:
        message = f"{min(len(offsets), len(counts))} of {expected} strips or tiles"
        raise ValueError(message)
    size = page.parent.filehandle.size
    for offset, count in zip(offsets, counts, strict=True):
        if offset <= 0 or count <= 0 or offset + count > size:
            message = "a strip or tile lies outside of the file"
            raise ValueError(message)
