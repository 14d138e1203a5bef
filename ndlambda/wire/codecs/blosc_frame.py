"""Blosc 1 frames; a frame's header is checked before it is trusted."""

from typing import Any, Final, Literal

import blosc
import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.blosc_header import HEADER_BYTES, read_blosc_header
from ndlambda.errors import MalformedBodyError, PayloadTooLargeError

_NEWEST_VERSION: Final = 2


def compress(
    data: bytes | memoryview, itemsize: int, codec: Literal["lz4", "zstd"], level: int
) -> bytes:
    """Return the blosc frame of some bytes, without shuffle.

    Raises
    ------
    PayloadTooLargeError
        Over blosc's limit of 2 GiB less 16 bytes.
    """
    if len(data) > blosc.MAX_BUFFERSIZE:
        message = (
            f"{len(data)} bytes do not fit in one blosc frame (at most {blosc.MAX_BUFFERSIZE}); "
            "ask in parts or in another format."
        )
        raise PayloadTooLargeError(message, limit=blosc.MAX_BUFFERSIZE, bytes=len(data))
    frame: bytes = blosc.compress(
        data, typesize=itemsize, clevel=level, shuffle=blosc.NOSHUFFLE, cname=codec
    )
    return frame


def read_size(frame: bytes | memoryview) -> int:
    """Return the uncompressed size of a frame, from a header that was checked for consistency.

    Raises
    ------
    MalformedBodyError
        It is not a blosc 1 frame, or its header contradicts itself or the frame's length.
    """
    if len(frame) < HEADER_BYTES:
        message = "The body is shorter than the header of a blosc frame."
        raise MalformedBodyError(message)
    header = read_blosc_header(frame)
    nbytes, block_bytes = header.nbytes, header.block_bytes
    if not 1 <= header.version <= _NEWEST_VERSION:
        raise MalformedBodyError(
            f"The body is no blosc frame of version 1 or 2 (its first byte is {header.version})."
        )
    if header.frame_bytes != len(frame):
        raise MalformedBodyError(
            f"The blosc header declares {header.frame_bytes} bytes, the frame has {len(frame)}."
        )
    has_valid_sizes = 1 <= nbytes <= blosc.MAX_BUFFERSIZE and 1 <= block_bytes <= nbytes
    if not has_valid_sizes or header.itemsize == 0:
        raise MalformedBodyError(
            f"The blosc header declares {nbytes} bytes in blocks of {block_bytes}."
        )
    # An uncompressed frame holds all its bytes; otherwise each block has an offset of 4 bytes.
    least = nbytes if header.is_uncompressed else 4 * -(-nbytes // block_bytes)
    if least > len(frame) - HEADER_BYTES:
        raise MalformedBodyError("The blosc frame is too short for what its header declares.")
    return nbytes


def decompress(frame: bytes | memoryview, nbytes: int) -> NDArray[np.uint8]:
    """Return the bytes of a frame whose :func:`read_size` is `nbytes`.

    Raises
    ------
    MalformedBodyError
        The frame is damaged.
    """
    out: NDArray[np.uint8] = np.empty(nbytes, np.uint8)
    readable: Any = frame if isinstance(frame, bytes) else memoryview(frame).toreadonly()
    try:
        written = blosc.decompress_ptr(readable, out.ctypes.data)
    except blosc.blosc_extension.error as fault:
        message = "The blosc frame is damaged."
        raise MalformedBodyError(message) from fault
    if written != nbytes:
        message = f"The blosc frame holds {written} bytes where its header declares {nbytes}."
        raise MalformedBodyError(message)
    return out
