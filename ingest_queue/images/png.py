"""Inflates the compressed stream of a PNG file; PNG specification, sections 5, 8, 10 and 11."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from typing import BinaryIO, Final, cast

from isal import isal_zlib

from ndlambda.errors import InvalidArgumentError

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES: Final = 33
_WINDOW: Final = 1 << 16
_BLOCK_BYTES: Final = (1 << 16) - 1
"""Largest stored block of a zlib stream."""
_ZLIB_HEAD: Final = b"\x78\x01"
_LAST_BLOCK: Final = b"\x01\x00\x00\xff\xff"
_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_COLOURS: Final = frozenset({2, 6})
_ADAM7: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
"""First six passes of interlacing: x start, y start, x step, y step."""
_DAMAGE: Final = cast(type[Exception], isal_zlib.error)  # the stub declares an instance


@dataclass(frozen=True, slots=True)
class PngLayout:
    """The stream layout given by the header."""

    width: int
    height: int
    bits: int
    interlaced: bool

    @property
    def is_scaled(self) -> bool:
        """Whether samples of 1, 2 or 4 bits are decoded as 0 to 255."""
        return self.bits < 8

    @property
    def stream_bytes(self) -> int:
        """Length of the inflated stream: rows, each after its filter byte."""
        if not self.interlaced:
            return self._rows(self.width, self.height)
        passes = (*_ADAM7, (0, 1, 1, 2))
        return sum(
            self._rows(-(-(self.width - x) // dx), -(-(self.height - y) // dy))
            for x, y, dx, dy in passes
        )

    def _rows(self, width: int, height: int) -> int:
        if width <= 0 or height <= 0:
            return 0
        return height * (1 + (width * self.bits + 7) // 8)


def read_layout(file: BinaryIO, where: str) -> PngLayout:
    """Read the header; leaves the file at its start.

    Raises
    ------
    ValueError
        It is not a PNG file.
    InvalidArgumentError
        The colours have 16 bits a sample, which a voxel cannot hold.
    """
    start = file.read(_HEADER_BYTES)
    file.seek(0)
    if start[:8] != _SIGNATURE or start[12:16] != b"IHDR" or len(start) < _HEADER_BYTES:
        message = "not a PNG file"
        raise ValueError(message)
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", start[16:29])
    if colour in _COLOURS and depth == 16:
        raise InvalidArgumentError(f"{where} has 16 bits a colour; convert it to 8, or to grey.")
    return PngLayout(width, height, depth * _SAMPLES[colour], interlaced == 1)


def inflated(file: BinaryIO, layout: PngLayout) -> BytesIO:
    """Return the image with its stream stored uncompressed, so that a decoder only unfilters.

    Inflating is half of a decoder's time; here it is faster, and checked. (Pillow's own inflating
    reads a truncated stream as zeros.)

    Raises
    ------
    ValueError
        The stream ends early, is damaged, or does not match its checksum.
    """
    file.seek(0)
    image, adler = BytesIO(), 1
    image.write(file.read(_HEADER_BYTES))
    _write_chunk(image, b"IDAT", _ZLIB_HEAD)
    for rows in _rows(file, layout.stream_bytes):
        adler = isal_zlib.adler32(rows, adler)
        block = struct.pack("<BHH", 0, len(rows), len(rows) ^ 0xFFFF)
        _write_chunk(image, b"IDAT", block + rows)
    _write_chunk(image, b"IDAT", _LAST_BLOCK + struct.pack(">I", adler))
    _write_chunk(image, b"IEND", b"")
    image.seek(0)
    return image


def _write_chunk(image: BytesIO, kind: bytes, body: bytes) -> None:
    image.write(struct.pack(">I", len(body)) + kind)
    image.write(body)
    image.write(struct.pack(">I", isal_zlib.crc32(body, isal_zlib.crc32(kind))))


def _rows(file: BinaryIO, wanted: int) -> Iterator[bytes]:
    """Inflate the stream in pieces that fit in stored blocks; ignore what follows the rows."""
    inflater, left = isal_zlib.decompressobj(), wanted
    try:
        for fed in chain(_stream(file), (b"",)):
            made, pending = b"?", fed
            while not inflater.eof and (made or pending):
                # The checksum follows the last row; it is verified when one more byte is asked for.
                made = inflater.decompress(pending, min(left, _BLOCK_BYTES) or 1)
                pending = inflater.unconsumed_tail
                if made and not left:
                    return
                left -= len(made)
                if made:
                    yield made
    except _DAMAGE as error:
        message = f"the compressed stream is damaged: {error}"
        raise ValueError(message) from error
    if left:
        message = f"the image ends after {wanted - left} of {wanted} bytes"
        raise ValueError(message)


def _stream(file: BinaryIO) -> Iterator[bytes]:
    file.seek(len(_SIGNATURE))
    while len(start := file.read(8)) == 8:
        left, kind = struct.unpack(">I4s", start)
        if kind == b"IDAT":
            while left and (piece := file.read(min(left, _WINDOW))):
                left -= len(piece)
                yield piece
            file.seek(4, 1)
        elif kind == b"IEND":
            return
        else:
            file.seek(left + 4, 1)
