"""The compressed stream of a PNG file, measured; PNG specification, sections 5, 8 and 11."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from isal import isal_zlib

from ndlambda.errors import InvalidArgumentError

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_WINDOW: Final = 1 << 18
_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_COLOURS: Final = frozenset({2, 6})
_ADAM7: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
"""First six passes of interlacing: x start, y start, x step, y step."""
_DAMAGE: Final = cast(type[Exception], isal_zlib.error)  # the stub has it as an instance


@dataclass(frozen=True, slots=True)
class Layout:
    """What the header says of the stream behind it."""

    width: int
    height: int
    bits: int
    interlaced: bool

    @property
    def stream_bytes(self) -> int:
        """Length of the inflated stream: rows, each with the byte of its filter before it."""
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


def read_layout(file: BinaryIO, where: str) -> Layout:
    """Read the header; leaves the file at its start.

    Raises
    ------
    ValueError
        It is no PNG file.
    InvalidArgumentError
        The colours have 16 bits a sample, of which a voxel has no room.
    """
    start = file.read(33)
    file.seek(0)
    if start[:8] != _SIGNATURE or start[12:16] != b"IHDR" or len(start) < 33:
        message = "not a PNG file"
        raise ValueError(message)
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", start[16:29])
    if colour in _COLOURS and depth == 16:
        raise InvalidArgumentError(f"{where} has 16 bits a colour; convert it to 8, or to grey.")
    return Layout(width, height, depth * _SAMPLES[colour], interlaced == 1)


def check_length(file: BinaryIO, layout: Layout) -> None:
    """Inflate the stream into nothing, to see that it has every row; keeps the file's place.

    Raises
    ------
    ValueError
        It ends early or is damaged.
    """
    place, length, wanted = file.tell(), 0, layout.stream_bytes
    inflater = isal_zlib.decompressobj()
    try:
        for fed in (*_stream(file), b""):
            pending: bytes | None = fed
            while pending is not None and not inflater.eof and length < wanted:
                made = inflater.decompress(pending, _WINDOW)
                length += len(made)
                pending = inflater.unconsumed_tail if made or pending else None
    except _DAMAGE as error:
        message = f"the compressed stream is damaged: {error}"
        raise ValueError(message) from error
    finally:
        file.seek(place)
    if length < wanted:
        message = f"the image ends after {length} of {wanted} bytes"
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
