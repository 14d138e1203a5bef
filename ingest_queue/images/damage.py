"""Faults of foreign decoders as our own errors."""

import lzma
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ndlambda.errors import InvalidArgumentError, MalformedBodyError

_DAMAGE: Final = (
    OSError,
    SyntaxError,  # Pillow's word for a header that is none
    ValueError,
    RuntimeError,
    EOFError,
    MemoryError,  # a hostile length that a header check could not know of
    struct.error,
    zlib.error,
    lzma.LZMAError,
    # tifffile and Pillow believe in what tags say of one another and stumble over contradictions.
    LookupError,
    ArithmeticError,
    TypeError,
    AttributeError,
)


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Read foreign bytes inside: what a decoder raises over them becomes our error.

    Raises
    ------
    MalformedBodyError
        The decoder stumbled; the message names `where`.
    """
    try:
        yield
    except _DAMAGE as error:
        reason = str(error).partition(" [tensorstore_spec=")[0] or type(error).__name__
        raise MalformedBodyError(f"{where} cannot be read ({reason}).", file=where) from error


@contextmanager
def needing(library: str, what: str) -> Iterator[None]:
    """Import a library of the extra ``ingest`` inside.

    Raises
    ------
    InvalidArgumentError
        It is not installed; the message says how to install it.
    """
    try:
        yield
    except ImportError as error:
        raise InvalidArgumentError(
            f"{what} needs {library}: pip install 'ndlambda[ingest]'.", library=library
        ) from error
