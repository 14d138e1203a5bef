"""Translates the errors of third-party decoders to ours."""

import lzma
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ndlambda.errors import InvalidArgumentError, MalformedBodyError

_DAMAGE: Final = (
    OSError,
    SyntaxError,  # Pillow's error for an invalid header
    ValueError,
    RuntimeError,
    EOFError,
    MemoryError,  # a hostile length that no header check covers
    struct.error,
    zlib.error,
    lzma.LZMAError,
    # tifffile and Pillow trust tags to be consistent and fail in many ways if they are not.
    LookupError,
    ArithmeticError,
    TypeError,
    AttributeError,
)


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Translate what a decoder raises in this context.

    Raises
    ------
    MalformedBodyError
        The decoder failed; the message names `where`.
    """
    try:
        yield
    except _DAMAGE as error:
        reason = str(error).partition(" [tensorstore_spec=")[0] or type(error).__name__
        raise MalformedBodyError(f"{where} cannot be read ({reason}).", file=where) from error


@contextmanager
def needing(library: str, what: str) -> Iterator[None]:
    """Import a library of the extra ``ingest`` in this context.

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
