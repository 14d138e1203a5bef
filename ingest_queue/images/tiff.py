"""Describes and decodes pages of TIFF files."""

from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.colours import as_voxels, packed, stored_dtype
from ndlambda.errors import InvalidArgumentError

_COLOUR_AXES: Final = frozenset({"YXS", "SYX"})
_LOSSLESS: Final = frozenset({1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000})
"""Uncompressed, CCITT, LZW, deflate, PackBits, LZMA and Zstd; others may be lossy."""
_TILE_SLACK_BYTES: Final = 1 << 26
"""A tile may be larger than the page, but only so much, or it could exhaust memory."""
_PILLOW_MODES: Final = {
    "1": "bool",
    "L": "uint8",
    "I;16": "uint16",
    "I;16B": "uint16",
    "I": "int32",
    "F": "float32",
    "RGB": "uint8",
    "RGBA": "uint8",
}


@dataclass(frozen=True, slots=True)
class PageHeader:
    """Size (y, x) and voxel dtype of a page, and whether its compression is lossy."""

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
    if samples is None or page.photometric == 3:  # a palette
        raise InvalidArgumentError(f"{where} has a palette or no dtype; convert it to grey.")
    if axes == "YX":
        facts = PageHeader((shape[0], shape[1]), stored_dtype(samples), _lossy(page))
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
    import tifffile

    _check_segments(page)
    known = page.compression in tifffile.TIFF.DECOMPRESSORS
    predictor_known = page.predictor in tifffile.TIFF.UNPREDICTORS
    samples: NDArray[Any] = page.asarray() if known and predictor_known else _by_pillow(page, where)
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


def _by_pillow(page: Any, where: str) -> NDArray[np.generic]:
    """Decode by Pillow's libtiff what else needs imagecodecs (LZW, JPEG)."""
    from PIL.TiffImagePlugin import TiffImageFile

    handle = page.parent.filehandle
    handle.seek(0)
    with_codecs = InvalidArgumentError(
        f"{where} (TIFF compression {page.compression.name}) needs imagecodecs: "
        "pip install 'ndlambda[ingest]'.",
        library="imagecodecs",
    )
    try:
        image = TiffImageFile(handle)
        image.seek(page.index)
        samples = np.asarray(image)
    except (OSError, SyntaxError) as error:
        raise with_codecs from error
    if _PILLOW_MODES.get(image.mode) != page.dtype.name or samples.shape != page.shape:
        raise with_codecs
    return samples
