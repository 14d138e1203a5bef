"""Encodes and decodes arrays as bodies: one plain blosc frame."""

import hashlib
import json
import math

import blosc
import numpy as np
from numpy.typing import NDArray

from ndlambda.client.transport.http import Answer
from ndlambda.errors import IntegrityError, MalformedBodyError
from ndlambda.wire.codecs.blosc_frame import decompress, read_size

FORMAT = "blosc"
CONTENT_TYPE = "application/x-blosc"
DIGEST_BYTES = 20


def encode_array(array: NDArray[np.generic]) -> bytes:
    """Return the blosc frame of a C-ordered little-endian array.

    lz4, because the body is only transferred: it is faster than a fast network, and the server
    compresses again, harder, for storage.
    """
    whole = np.ascontiguousarray(array)
    return bytes(
        blosc.compress_ptr(
            whole.ctypes.data,
            whole.size,
            whole.dtype.itemsize,
            clevel=1,
            shuffle=blosc.SHUFFLE,
            cname="lz4",
        )
    )


def decode_array(answer: Answer, shape: tuple[int, ...], dtype: np.dtype) -> NDArray[np.generic]:
    """Return the array of an answer; the caller owns it.

    Raises
    ------
    IntegrityError
        The shape, dtype or length is not the expected one, or it is not a blosc frame.
    """
    declared = answer.headers.get("x-ndlambda-shape"), answer.headers.get("x-ndlambda-dtype")
    expected = ",".join(map(str, shape)), dtype.name
    # After a redirect the answer comes from an object store, which does not send these headers.
    if any(found not in {None, wanted} for found, wanted in zip(declared, expected, strict=True)):
        raise IntegrityError(
            f"Asked for {expected[1]} of shape {expected[0]}, the server declared {declared}."
        )
    nbytes = math.prod(shape) * dtype.itemsize
    try:
        if (found := read_size(answer.body)) != nbytes:
            raise MalformedBodyError(f"It has {found} bytes.")
        voxels = decompress(answer.body, nbytes)
    except MalformedBodyError as error:
        raise IntegrityError(f"The answer is not a blosc frame of {nbytes} bytes.") from error
    return voxels.view(dtype).reshape(shape)


def digest(array: NDArray[np.generic]) -> str:
    """Return the BLAKE2b digest (20 bytes, hex) of the voxels in C order, little endian."""
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=DIGEST_BYTES).hexdigest()


def read_digest(answer: Answer) -> str | None:
    """Return the digest of a box in an answer, or None if it has none."""
    document = json.loads(answer.body)
    found = document.get("blake2b") if isinstance(document, dict) else None
    return found if isinstance(found, str) else None
