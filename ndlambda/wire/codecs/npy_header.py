"""The header of a ``.npy`` file (NumPy enhancement proposal 1), read without evaluating it.

``numpy.lib.format`` parses the header as Python source, which hostile text can make slow, loud
(warnings) or deep. Bodies here hold plain numbers, so three patterns are enough; what they do not
match, such as object, structured and text dtypes, is refused.
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

_LONGEST: Final = 4096
"""Most bytes of header text; numpy pads ours to a total of 128."""

NUMBER_CODES: Final = frozenset(
    ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
)
"""Kind and item size of numpy's plain numbers; text, objects and records are not among them."""

_DESCR: Final = re.compile(r"""['"]descr['"] ?: ?['"]([<>|=])([biufc]\d{1,2})['"]""")
_FORTRAN: Final = re.compile(r"""['"]fortran_order['"] ?: ?(True|False)""")
_SHAPE: Final = re.compile(r"""['"]shape['"] ?: ?\(([0-9L, ]{0,256})\)""")


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What stands before the elements.

    Parameters
    ----------
    dtype
        Of either byte order.
    shape
        As declared.
    fortran
        The first axis runs fastest.
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
        Gives exactly so many of the next bytes, or raises MalformedBodyError.

    Raises
    ------
    MalformedBodyError
        It is no such header, is longer than 4 KiB, or declares other than plain numbers.
    """
    magic = read(8)
    if magic[:6] != npy.MAGIC_PREFIX or magic[6] not in {1, 2, 3}:
        message = "The contents do not start as an .npy file of version 1, 2 or 3."
        raise MalformedBodyError(message)
    width = "<H" if magic[6] == 1 else "<I"
    (length,) = struct.unpack(width, read(struct.calcsize(width)))
    if length > _LONGEST:
        message = f"The .npy header is {length} bytes long; at most {_LONGEST} are read."
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
    """Read the inside of a tuple of integers; Python 2 wrote some with an ``L``."""
    words = [word.strip().removesuffix("L") for word in text.split(",")]
    if words[-1] == "":
        words.pop()
    if not all(word.isdecimal() and len(word) < 20 for word in words):
        message = "The shape in the .npy header is not a tuple of integers."
        raise MalformedBodyError(message)
    return tuple(map(int, words))
