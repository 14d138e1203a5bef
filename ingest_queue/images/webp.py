"""Reads the header of a WebP file; RFC 9649."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from ndlambda.errors import InvalidArgumentError

_ANIMATED = 0x02


@dataclass(frozen=True, slots=True)
class WebpHeader:
    """Size (y, x), and whether the compression is lossy."""

    shape_yx: tuple[int, int]
    lossy: bool


def read_header(file: BinaryIO, where: str) -> WebpHeader:
    """Read the headers of the chunks.

    Raises
    ------
    ValueError
        It is not a WebP file.
    InvalidArgumentError
        It is an animation.
    """
    start = file.read(12)
    if start[:4] != b"RIFF" or start[8:] != b"WEBP":
        message = "not a WebP file"
        raise ValueError(message)
    canvas: tuple[int, int] | None = None
    while len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        content = file.read(min(length, 10))
        if kind == b"VP8X":
            if content[0] & _ANIMATED:
                raise InvalidArgumentError(f"{where} is an animation; a slice is one picture.")
            canvas = _u24(content[7:10]) + 1, _u24(content[4:7]) + 1
        elif kind in {b"VP8 ", b"VP8L"}:
            lossy = kind == b"VP8 "
            shape = _shape_lossy(content) if lossy else _shape_lossless(content)
            return WebpHeader(canvas or shape, lossy)
        file.seek(length + length % 2 - len(content), 1)
    message = "no picture in it"
    raise ValueError(message)


def _u24(content: bytes) -> int:
    return int.from_bytes(content, "little")


def _shape_lossy(content: bytes) -> tuple[int, int]:
    if content[3:6] != b"\x9d\x01\x2a":
        message = "the picture does not begin as one"
        raise ValueError(message)
    width, height = struct.unpack("<HH", content[6:10])
    return height & 0x3FFF, width & 0x3FFF


def _shape_lossless(content: bytes) -> tuple[int, int]:
    bits = int.from_bytes(content[1:5], "little")
    if content[0] != 0x2F:
        message = "the picture does not begin as one"
        raise ValueError(message)
    return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
