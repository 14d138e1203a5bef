"""Parses the header of an ``.npy`` file (NumPy enhancement proposal 1) without evaluating it.

``numpy.lib.format`` parses the header as Python source, which hostile text can make slow, noisy
(warnings) or deeply nested. Bodies hold plain numbers, so three patterns suffice; headers that do
not match them, such as object, structured and text dtypes, are refused.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy

from ndlambda.errors import MalformedBodyError

_MAX_TEXT: Final = 4096
"""Most bytes of header text; numpy pads the headers of plain numbers to 128 bytes in total."""

NUMBER_CODES: Final = frozenset(
    ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
)
"""Kind and item size of numpy's plain numbers; text, objects and records are excluded."""

_DESCR: Final = re.compile(r"""['"]descr['"] ?: ?['"]([<>|=])([biufc]\d{1,2})['"]""")
_FORTRAN: Final = re.compile(r"""['"]fortran_order['"] ?: ?(True|False)""")
_SHAPE: Final = re.compile(r"""['"]shape['"] ?: ?\(([0-9L, ]{0,256})\)""")


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """The parsed header of an ``.npy`` file.

    Parameters
    ----------
    dtype
        Of either byte order.
    shape
        As declared.
    fortran
        Whether the first axis varies fastest.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool


def write_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Return the header of a C-ordered array, version 1.0, as numpy writes it."""
    out = BytesIO()
    npy.write_array_header_1_0(
        out, {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    )
    return out.getvalue()


def read_header(read: Callable[[int], bytes]) -> NpyHeader:
    """Read a header of version 1, 2 or 3.

    Parameters
    ----------
    read
        Returns exactly that many of the next bytes, or raises MalformedBodyError.

    Raises
    ------
    MalformedBodyError
        It is not such a header, is longer than 4 KiB, or declares something else than plain
        numbers.
    """
    magic = read(8)
    if magic[:6] != npy.MAGIC_PREFIX or magic[6] not in {1, 2, 3}:
        message = "The contents do not start as an .npy file of version 1, 2 or 3."
        raise MalformedBodyError(message)
    width = "<H" if magic[6] == 1 else "<I"
    (length,) = struct.unpack(width, read(struct.calcsize(width)))
    if length > _MAX_TEXT:
        message = f"The .npy header is {length} bytes long; at most {_MAX_TEXT} are read."
        raise MalformedBodyError(message)
    text = read(length).decode("latin-1")
    descr, fortran, shape = _DESCR.search(text), _FORTRAN.search(text), _SHAPE.search(text)
    if descr is None or fortran is None or shape is None or descr[2] not in NUMBER_CODES:
        message = "The .npy header does not declare an array of plain numbers."
        raise MalformedBodyError(message)
    return NpyHeader(
        np.dtype(descr[1] + descr[2]), _numbers(shape[1]), fortran=fortran[1] == "True"
    )


def _numbers(text: str) -> tuple[int, ...]:
    """Parse the inside of a tuple of integers; Python 2 appended ``L`` to some."""
    words = [word.strip().removesuffix("L") for word in text.split(",")]
    if words[-1] == "":
        words.pop()
    if not all(word.isdecimal() and len(word) < 20 for word in words):
        message = "The shape in the .npy header is not a tuple of integers."
        raise MalformedBodyError(message)
    return tuple(map(int, words))
