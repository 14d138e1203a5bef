"""Strings of variable length out of HDF5 files that may be hostile.

They lie in "global heaps" of the file (HDF5 File Format Specification, III.E). libhdf5 reads them,
but it goes round for ever in a heap that holds an object of no length, which a few damaged bytes
make; so they are looked up here, in the bytes of the body.
"""

import struct
from typing import Final

from ndlambda.errors import MalformedBodyError

REFERENCE: Final = struct.Struct("<IQI")
"""Length of the string, address of its heap, index in it; in files with addresses of 8 bytes."""

_HEAP: Final = struct.Struct("<4sB3xQ")
_OBJECT: Final = struct.Struct("<HHIQ")
_ALIGNED: Final = 8


def read_heap_text(body: bytes | memoryview, offset: int) -> bytes:
    """Return the string that the reference at an offset of a file leads to.

    Raises
    ------
    MalformedBodyError
        It leads nowhere.
    """
    try:
        length, address, wanted = REFERENCE.unpack_from(body, offset)
        if length == 0:
            return b""
        signature, version, size = _HEAP.unpack_from(body, address)
        end = min(address + size, len(body))
        place = address + _HEAP.size
        while signature == b"GCOL" and version == 1 and place + _OBJECT.size <= end:
            index, _, _, size = _OBJECT.unpack_from(body, place)
            place += _OBJECT.size
            if index == wanted and length <= size and place + length <= end:
                return bytes(body[place : place + length])
            if index == 0:  # what is left of the heap
                break
            place += -(-size // _ALIGNED) * _ALIGNED
    except (struct.error, OverflowError) as error:
        message = "The HDF5 file is refused: a string lies outside of it."
        raise MalformedBodyError(message) from error
    message = "The HDF5 file is refused: a string is not where it should be."
    raise MalformedBodyError(message)
