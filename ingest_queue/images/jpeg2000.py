"""Reads JPEG 2000 files and codestreams; ITU-T T.800, annex A."""

import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.damage import needing
from ndlambda.errors import InvalidArgumentError

_START: Final = b"\xff\x4f\xff\x51"
"""Start of codestream and the size marker, which must follow it."""
_TILE: Final = b"\xff\x90"
_TRANSFORM_AT: Final = {b"\xff\x52": 11, b"\xff\x53": 8}
"""Offset of the transform after the marker of a coding style (COD, or COC of a component)."""
_REVERSIBLE: Final = 1
_MAX_HEADER: Final = 1 << 20
_COLOUR_COMPONENTS: Final = frozenset({3, 4})


@dataclass(frozen=True, slots=True)
class Jpeg2000Header:
    """The main header of a codestream.

    Attributes
    ----------
    shape_yx, dtype
        Of the decoded plane.
    precision
        Bits a sample.
    lossy
        Whether the wavelet transform is the irreversible one.
    """

    shape_yx: tuple[int, int]
    dtype: np.dtype
    precision: int
    lossy: bool


def read_header(file: BinaryIO, where: str) -> Jpeg2000Header:
    """Read the main header of the codestream; the file's boxes are ignored.

    Raises
    ------
    ValueError
        There is no codestream.
    InvalidArgumentError
        The samples are not supported.
    """
    head = file.read(_MAX_HEADER)
    begin = head.find(_START)
    if begin < 0:
        message = "not a JPEG 2000 file"
        raise ValueError(message)
    at = begin + 4
    _, _, x1, y1, x0, y0 = struct.unpack_from(">HHIIII", head, at)
    (count,) = struct.unpack_from(">H", head, at + 36)
    components = {head[at + 38 + 3 * n : at + 41 + 3 * n] for n in range(count)}
    if len(components) != 1:
        raise InvalidArgumentError(f"{where} has components of several kinds; convert it.")
    depth, dx, dy = components.pop()
    precision, signed = (depth & 0x7F) + 1, depth >> 7
    colour = count in _COLOUR_COMPONENTS and precision == 8
    grey = count == 1 and precision <= 16
    if not (colour or grey) or signed or (dx, dy) != (1, 1):
        raise InvalidArgumentError(
            f"{where} has {count} components of {precision} bits; unsigned grey up to 16 bits and "
            "colours of 8 bits are read."
        )
    dtype = np.dtype("<u4") if colour else np.dtype("<u1" if precision <= 8 else "<u2")
    return Jpeg2000Header((y1 - y0, x1 - x0), dtype, precision, _is_lossy(head, at))


def _is_lossy(head: bytes, at: int) -> bool:
    """Return whether a coding style of the main header, after the size marker, is lossy."""
    while True:
        (length,) = struct.unpack_from(">H", head, at)
        at += length
        marker = head[at : at + 2]
        if marker == _TILE:
            return False
        if len(marker) < 2 or length < 2:
            message = "the header has no end"
            raise ValueError(message)
        at += 2
        if marker in _TRANSFORM_AT and head[at + _TRANSFORM_AT[marker]] != _REVERSIBLE:
            return True


def decode(file: BinaryIO, facts: Jpeg2000Header, where: str) -> NDArray[np.generic]:
    """Decode samples (y, x) or (y, x, colour), as stored.

    Raises
    ------
    ValueError, and what the decoders raise
        The file is damaged.
    InvalidArgumentError
        imagecodecs is needed and not installed.
    """
    file.seek(0)
    if facts.precision in {8, 16}:
        from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

        image = Jpeg2KImageFile(file)
        if image.mode not in {"L", "I;16", "RGB", "RGBA"}:
            raise InvalidArgumentError(f"{where} is neither grey nor RGB (mode {image.mode}).")
        if image.size[::-1] != facts.shape_yx:
            # Pillow would allocate the size in the file's boxes, not that of the codestream.
            message = f"boxes around an image of {facts.shape_yx} (y, x) say {image.size[::-1]}"
            raise ValueError(message)
        return np.asarray(image)
    with needing("imagecodecs", f"A JPEG 2000 image of {facts.precision} bits"):
        import imagecodecs
    # Pillow would scale other precisions to 8 or 16 bits.
    return np.asarray(imagecodecs.jpeg2k_decode(file.read()))
