"""Reads variable-length strings of possibly hostile HDF5 files.

Such strings are stored in "global heaps" of the file (HDF5 File Format Specification, III.E).
libhdf5 loops forever in a heap that holds an object of length zero, which a few damaged bytes can
produce; so the strings are looked up here, in the bytes of the body.
"""

import struct
from typing import Final

from ndlambda.errors import MalformedBodyError

REFERENCE: Final = struct.Struct("<IQI")
"""String length, heap address, index in the heap; for files with 8-byte addresses."""

_HEAP: Final = struct.Struct("<4sB3xQ")
_OBJECT: Final = struct.Struct("<HHIQ")
_ALIGNMENT: Final = 8


def read_heap_text(body: bytes | memoryview, offset: int) -> bytes:
    """Return the string that the reference at an offset of a file points to.

    Raises
    ------
    MalformedBodyError
        The reference is invalid.
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
            if index == 0:  # the free space of the heap
                break
            place += -(-size // _ALIGNMENT) * _ALIGNMENT
    except (struct.error, OverflowError) as error:
        message = "The HDF5 file is refused: a string is outside the file."
        raise MalformedBodyError(message) from error
    message = "The HDF5 file is refused: a string is not in its heap."
    raise MalformedBodyError(message)
