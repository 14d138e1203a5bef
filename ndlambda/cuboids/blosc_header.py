"""Parses the header of a blosc 1 frame (``README_CHUNK_FORMAT.rst`` of c-blosc).

Stored frames and bodies share the header but not the rules: each caller validates it against what
it expects, and raises its own errors.
"""

import struct
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct("<BBBBIII")

HEADER_BYTES: Final = _HEADER.size

_SHUFFLES: Final = 0x05
"""Byte shuffle and bit shuffle; a blosc 1 frame has at most one of them."""
_UNCOMPRESSED: Final = 0x02
_RESERVED: Final = 0x08


class BloscHeader(NamedTuple):
    """The declarations of a frame, unchecked.

    Attributes
    ----------
    itemsize, nbytes
        Size of an item, and of all items, in bytes.
    block_bytes
        Uncompressed size of each independently compressed block.
    frame_bytes
        Length of the frame including its header.
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
        """Whether the items follow the header uncompressed."""
        return bool(self.flags & _UNCOMPRESSED)

    @property
    def is_blosc_2(self) -> bool:
        """Whether libblosc2 would read the frame as one of its own format.

        It recognises those by a reserved bit, or by both shuffle bits.
        """
        return bool(self.flags & _RESERVED) or self.flags & _SHUFFLES == _SHUFFLES


def read_blosc_header(frame: bytes | memoryview) -> BloscHeader:
    """Read the header of a frame of at least ``HEADER_BYTES``."""
    return BloscHeader._make(_HEADER.unpack_from(frame))
