"""A stack as a folder of PNG slices, the form in which microscopes and labs hand it over."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_png_slices(folder: Path, stack: NDArray[np.uint8], first: int = 0) -> None:
    """Write one ``zzzz.png`` for each plane of a (z, y, x) uint8 or uint16 stack.

    ``first`` numbers the first slice. Low compression: slices are written once and read once.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, plane in enumerate(stack, first):
        Image.fromarray(plane).save(folder / f"{number:04d}.png", compress_level=1)


def encode_png(plane: NDArray[np.unsignedinteger[Any]]) -> bytes:
    """Give a PNG of a plane (y, x): grey of uint8 or uint16, RGBA of uint32 (red the low byte)."""
    from PIL import Image

    pixels: NDArray[Any] = np.ascontiguousarray(plane)
    if plane.dtype.itemsize == 4:
        pixels = pixels.view(np.uint8).reshape(*plane.shape, 4)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png", compress_level=1)
    return out.getvalue()
