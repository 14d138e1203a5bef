"""The header of a blosc 1 frame (``README_CHUNK_FORMAT.rst`` of c-blosc), read in one place.

Stored frames and bodies have the same header, but not the same rules: those who read it compare it
with what they know, and raise their own errors.
"""

import struct
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct("<BBBBIII")

HEADER_BYTES: Final = _HEADER.size

_SHUFFLES: Final = 0x05
"""Shuffle and bit shuffle, of which a frame has one at most."""
_UNCOMPRESSED: Final = 0x02
_RESERVED: Final = 0x08


class BloscHeader(NamedTuple):
    """What a frame declares; nothing in it is checked.

    Attributes
    ----------
    itemsize, nbytes
        Bytes of an item, and of all items.
    block_bytes
        Bytes of items in each block that is compressed on its own.
    frame_bytes
        Length of the frame with its header.
    """

    version: int
    codec_version: int
    flags: int
    itemsize: int
    nbytes: int
    block_bytes: int
    frame_bytes: int

    @property
    def is_uncompressed(self) -> bool:
        """Whether the items follow the header as they are."""
        return bool(self.flags & _UNCOMPRESSED)

    @property
    def is_blosc_2(self) -> bool:
        """Whether libblosc2 takes the frame for one of its own format.

        It knows those by a reserved bit, or by both shuffles at once.
        """
        return bool(self.flags & _RESERVED) or self.flags & _SHUFFLES == _SHUFFLES


def read_blosc_header(frame: bytes | memoryview) -> BloscHeader:
    """Read the header of a frame of at least ``HEADER_BYTES``."""
    return BloscHeader._make(_HEADER.unpack_from(frame))
