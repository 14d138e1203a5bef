"""Writes a stack as a folder of PNG slices, as microscopes and labs deliver it."""

from pathlib import Path

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
