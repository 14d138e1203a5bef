"""Encodes and decodes single arrays as ``.npy``: voxel lists, masks, label tables."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import MalformedBodyError
from ndlambda.wire.codecs.npy_header import read_header, write_header
from ndlambda.wire.codecs.promise import Promise

CONTENT_TYPE: Final = "application/x-npy"

Accept: TypeAlias = Callable[[np.dtype[Any], tuple[int, ...]], None]
"""Checks the dtype and shape that a header declares, and raises to refuse them."""


def encode_npy(array: NDArray[Any]) -> bytes:
    """Return an array as a C-ordered ``.npy`` file."""
    whole = np.ascontiguousarray(array)
    return write_header(whole.dtype, array.shape) + whole.tobytes()


def decode_npy(body: bytes | memoryview, accept: Accept) -> NDArray[Any]:
    """Return the array of a file, little-endian and C-contiguous; possibly a view of the body.

    Parameters
    ----------
    body
        The file, without other bytes.
    accept
        Called with the header before the elements are read.

    Raises
    ------
    MalformedBodyError
        It is not an ``.npy`` file of plain numbers, or has more or fewer elements than declared.
    """
    view = memoryview(body)
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        piece = bytes(view[position : position + size])
        if len(piece) < size:
            raise MalformedBodyError("The .npy file is truncated.")
        position += size
        return piece

    header = read_header(read)
    accept(header.dtype, header.shape)
    promise = Promise(header.dtype.newbyteorder("<"), header.shape)
    return promise.adopt(view[position:], header.dtype, fortran=header.fortran)
