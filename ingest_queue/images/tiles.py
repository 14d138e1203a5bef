"""Assembles the CATMAID tiles of a plane into one image."""

import io
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.decoder import read_image
from ndlambda.errors import DataTypeMismatchError, ShapeMismatchError

TILE: Final = 1024
"""Edge of a tile in pixels, as in ndstore's last CATMAID ingest."""

_COLOUR: Final = np.dtype("<u4")
_FIRST_BAND: Final = 0xFF

DTYPES: Final = frozenset({np.dtype("u1"), np.dtype("<u2"), _COLOUR})
"""Voxels that tiles can hold."""

Read = Callable[[int, int], tuple[str, bytes]]
"""Returns URL and content of the tile in a row and column."""


def assemble(read: Read, shape_yx: tuple[int, int], dtype: np.dtype) -> bytes:
    """Return a PNG of a plane.

    Tiles at the edges may be cut, or whole and reach over the edge. For a uint8 channel the first
    band of coloured tiles is used.

    Parameters
    ----------
    shape_yx, dtype
        Of the plane: one of ``DTYPES``.

    Raises
    ------
    ShapeMismatchError, DataTypeMismatchError, InvalidArgumentError, PayloadTooLargeError
        A tile is of another size or type, or damaged.
    NDLambdaError
        ``read`` failed.
    """
    plane = np.zeros(shape_yx, dtype)
    for row in range(-(-shape_yx[0] // TILE)):
        for column in range(-(-shape_yx[1] // TILE)):
            url, body = read(row, column)
            part = plane[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
            tile = _decode(url, body, dtype)
            height, width = part.shape
            if tile.shape[0] < height or tile.shape[1] < width:
                raise ShapeMismatchError(
                    f"{url} is {tile.shape[1]}x{tile.shape[0]}, not {width}x{height} "
                    "(width x height)."
                )
            part[...] = tile[:height, :width]
    return encode_png(plane)


def _decode(url: str, body: bytes, dtype: np.dtype) -> NDArray[Any]:
    tile: NDArray[Any] = read_image(body, PurePosixPath(url).name, TILE * TILE * _COLOUR.itemsize)
    if tile.dtype == _COLOUR and dtype == np.uint8:
        return (tile & _FIRST_BAND).astype(np.uint8)
    if tile.dtype != dtype:
        raise DataTypeMismatchError(f"{url} is {tile.dtype}, the channel {dtype}.")
    return tile


def encode_png(plane: NDArray[np.unsignedinteger[Any]]) -> bytes:
    """Return a plane (y, x) as PNG: grey of uint8 or uint16, RGBA of uint32 (red the low byte)."""
    from PIL import Image

    pixels: NDArray[Any] = np.ascontiguousarray(plane)
    if plane.dtype.itemsize == 4:
        pixels = pixels.view(np.uint8).reshape(*plane.shape, 4)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png", compress_level=1)
    return out.getvalue()
