"""Reads datasets of possibly hostile HDF5 files.

HDF5 follows links out of the file, reads other files as part of a dataset, and inflates a chunk
without a bound. So every link must be hard, every dataset must be stored in the file itself, and
gzip chunks, which nearly all clients send, are inflated here, to the length of a chunk and no
further. (igzip is also faster than HDF5's own filter.)
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import DataTypeMismatchError, MalformedBodyError
from ndlambda.wire.codecs.hdf5_heap import read_heap_text
from ndlambda.wire.codecs.inflate import inflate_exactly
from ndlambda.wire.codecs.promise import Promise

if TYPE_CHECKING:
    import h5py

SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"

_MAX_CHUNKS: Final = 1 << 16
_CHUNK_SLACK: Final = 1 << 24
"""Most bytes by which a chunk may exceed the dataset: chunks may be larger than their contents."""

_MAX_LZF_CHUNK: Final = 1 << 20
"""Chunk size that h5py chooses by itself; LZF expands at most 88-fold, and its filter has no
bound."""

_MAX_TEXT: Final = 1 << 20
"""Most bytes of a fixed-length string: HDF5 allocates them even if the file does not hold them."""

_GZIP, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
_FLETCHER32_SIZE: Final = 4

_DAMAGE: Final = (
    OSError,  # a damaged or truncated file
    KeyError,  # an object that cannot be opened
    RuntimeError,  # most other faults of libhdf5
    ValueError,  # an invalid selection or layout
    TypeError,  # a datatype without a counterpart in numpy
    AttributeError,  # an object of another kind than expected
    OverflowError,  # a size over the machine's limit
    UnicodeError,  # a name that is not UTF-8
)


def _refuse(reason: str) -> MalformedBodyError:
    return MalformedBodyError(f"The HDF5 file is refused: {reason}.")


@contextmanager
def open_bytes(body: bytes | memoryview) -> "Iterator[h5py.Group]":
    """Open an HDF5 file in memory; errors that h5py raises inside become MalformedBodyError.

    Yields
    ------
    h5py.Group
        The root group, readable until the context ends.

    Raises
    ------
    MalformedBodyError
        It is not an HDF5 file, or is damaged.
    """
    import h5py

    if bytes(body[: len(SIGNATURE)]) != SIGNATURE:
        reason = "it does not start with the signature of HDF5"
        raise _refuse(reason)
    try:
        with h5py.File(h5py.h5f.open_file_image(body)) as file:
            yield file
    except _DAMAGE as fault:
        reason = f"{type(fault).__name__}, {fault}"
        raise _refuse(reason) from fault


def find_group(parent: "h5py.Group", name: str) -> "h5py.Group | None":
    """Return a child group, or None if there is none of this name.

    Raises
    ------
    MalformedBodyError
        The link is not hard, or points to something other than a group.
    """
    import h5py

    if not _has_hard_link(parent, name):
        return None
    found = parent[name]
    if not isinstance(found, h5py.Group):
        reason = f"{name} is no group"
        raise _refuse(reason)
    return found


def _has_hard_link(parent: "h5py.Group", name: str) -> bool:
    import h5py

    link = parent.get(name, getlink=True)
    if link is not None and not isinstance(link, h5py.HardLink):
        reason = f"{name} is a {type(link).__name__}"
        raise _refuse(reason)
    return link is not None


def read_dataset(group: "h5py.Group", name: str, promise: Promise) -> NDArray[Any]:
    """Read a dataset that must match the promise exactly.

    Returns
    -------
    numpy.ndarray
        Little-endian, newly allocated.

    Raises
    ------
    DataTypeMismatchError, ShapeMismatchError
        Its dtype or shape differs.
    MalformedBodyError
        It is missing, is not stored in this file alone, has filters other than gzip, lzf, shuffle
        and fletcher32, or is damaged.
    """
    import h5py

    found = _open_stored(group, name)
    if found is None:
        reason = f"there is no {name}"
        raise _refuse(reason)
    layout = found.get_create_plist()
    dtype = _number_dtype(found, name)
    promise.check(dtype, found.shape)
    filters = tuple(layout.get_filter(index)[0] for index in range(layout.get_nfilters()))
    chunk = layout.get_chunk() if layout.get_layout() == h5py.h5d.CHUNKED else ()
    _check_filters(filters, math.prod(chunk) * dtype.itemsize, promise)
    if layout.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED:
        # Not worth the risk: libhdf5 crashes on damaged fill values.
        reason = f"{name} has a fill value of its own"
        raise _refuse(reason)
    out = np.zeros(promise.shape, promise.dtype)
    if _GZIP in filters:
        _read_gzip_chunks(found, filters, chunk, out)
    else:
        h5py.Dataset(found).read_direct(out)
    return out


def find_numbers(group: "h5py.Group", name: str) -> "tuple[np.dtype[Any], tuple[int, ...]] | None":
    """Return the declared dtype and shape of a numeric dataset, or None if it does not exist.

    A caller that accepts them passes them to ``read_dataset`` as its promise.

    Raises
    ------
    DataTypeMismatchError
        It holds something other than integers or floats.
    MalformedBodyError
        It is not stored in this file alone.
    """
    found = _open_stored(group, name)
    return None if found is None else (_number_dtype(found, name), found.shape or ())


def find_text(group: "h5py.Group", name: str, body: bytes | memoryview) -> str | None:
    """Return the single string of a dataset, fixed or variable length, or None if it is missing.

    Parameters
    ----------
    group, name
        The dataset.
    body
        The bytes of the file.

    Raises
    ------
    MalformedBodyError
        It is not stored in this file alone, has filters, or does not hold exactly one string.
    """
    import h5py

    found = _open_stored(group, name)
    if found is None:
        return None
    kind = found.get_type()
    if (
        not isinstance(kind, h5py.h5t.TypeStringID)
        or kind.get_size() > _MAX_TEXT
        or math.prod(found.shape or ()) != 1
        or found.get_create_plist().get_nfilters()
    ):
        reason = f"{name} is not one plain string"
        raise _refuse(reason)
    if kind.is_variable_str():
        offset = _only_offset(found)
        return "" if offset is None else read_heap_text(body, offset).rstrip(b"\0").decode()
    value = np.asarray(h5py.Dataset(found)[()]).reshape(-1)[0]
    return bytes(value).decode()


def _only_offset(dataset: "h5py.h5d.DatasetID") -> int | None:
    """Return the file offset of a dataset's only reference, or None if it was never written."""
    import h5py

    sizes = h5py.h5i.get_file_id(dataset).get_create_plist().get_sizes()
    if sizes != (8, 8):
        reason = f"its addresses have {sizes[0]} bytes"
        raise _refuse(reason)
    offset: int | None
    match dataset.get_create_plist().get_layout():
        case h5py.h5d.CONTIGUOUS:
            offset = dataset.get_offset()
        case h5py.h5d.CHUNKED:
            offset = dataset.get_chunk_info_by_coord((0,) * dataset.rank).byte_offset
        case _:
            reason = "a string is in a compact dataset"
            raise _refuse(reason)
    return offset


def _open_stored(group: "h5py.Group", name: str) -> "h5py.h5d.DatasetID | None":
    """Return a dataset that is stored in this file, or None if it does not exist."""
    import h5py

    if not _has_hard_link(group, name):
        return None
    found = h5py.h5o.open(group.id, name.encode())
    if not isinstance(found, h5py.h5d.DatasetID):
        reason = f"{name} is no dataset"
        raise _refuse(reason)
    layout = found.get_create_plist()
    # This comes first: asking for the shape of a virtual dataset may open its sources.
    if layout.get_layout() not in {h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED}:
        reason = f"{name} is a virtual dataset"
        raise _refuse(reason)
    if layout.get_external_count():
        reason = f"{name} is stored in other files"
        raise _refuse(reason)
    return found


def _number_dtype(dataset: "h5py.h5d.DatasetID", name: str) -> np.dtype[Any]:
    """Return the dtype if it is exactly one of numpy's integers or floats."""
    import h5py

    stored = dataset.get_type()
    if stored.get_class() not in {h5py.h5t.INTEGER, h5py.h5t.FLOAT}:
        raise DataTypeMismatchError(
            f"{name} does not hold plain integers or floats (bool is none: send it as uint8)."
        )
    dtype: np.dtype[Any] = stored.dtype
    if not stored.equal(h5py.h5t.py_create(dtype)):
        raise DataTypeMismatchError(f"{name} holds numbers of a layout that numpy has not.")
    return dtype


def _check_filters(filters: tuple[int, ...], chunk_bytes: int, promise: Promise) -> None:
    """Refuse filters and chunks that could expand beyond the promise."""
    unknown = set(filters) - {_GZIP, _SHUFFLE, _FLETCHER32, _LZF}
    if unknown or len(set(filters)) < len(filters) or {_GZIP, _LZF} <= set(filters):
        reason = f"its filters {filters} are not gzip or lzf, shuffle and fletcher32"
        raise _refuse(reason)
    largest = _MAX_LZF_CHUNK if _LZF in filters else promise.nbytes + _CHUNK_SLACK
    if chunk_bytes > largest:
        reason = f"its chunks have {chunk_bytes} bytes; at most {largest} are read"
        raise _refuse(reason)


def _read_gzip_chunks(
    dataset: "h5py.h5d.DatasetID",
    filters: tuple[int, ...],
    chunk: tuple[int, ...],
    out: NDArray[Any],
) -> None:
    """Fill `out` with the stored chunks."""
    stored = dataset.get_type().dtype
    grid = [range(0, edge, step) for edge, step in zip(out.shape, chunk, strict=True)]
    if math.prod(map(len, grid)) > _MAX_CHUNKS:
        reason = f"it has over {_MAX_CHUNKS} chunks"
        raise _refuse(reason)
    for corner in product(*grid):
        info = dataset.get_chunk_info_by_coord(corner)
        if info.byte_offset is None:
            continue  # never written: zeros
        if info.size > math.prod(chunk) * stored.itemsize + _CHUNK_SLACK:
            reason = f"a chunk of {info.size} bytes"
            raise _refuse(reason)
        skipped, data = dataset.read_direct_chunk(corner)
        used = [code for index, code in enumerate(filters) if not skipped >> index & 1]
        whole = _unfilter(data, used, math.prod(chunk), stored).reshape(chunk)
        place = tuple(slice(start, start + step) for start, step in zip(corner, chunk, strict=True))
        target = out[place]
        target[...] = whole[tuple(map(slice, target.shape))]


def _unfilter(
    data: bytes | memoryview, filters: list[int], elements: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Undo the filters of one chunk, in reverse order."""
    size = elements * dtype.itemsize
    for position in reversed(range(len(filters))):
        match filters[position]:
            case code if code == _GZIP:
                tail = _FLETCHER32_SIZE if _FLETCHER32 in filters[:position] else 0
                data = inflate_exactly(data, size + tail)
            case code if code == _FLETCHER32:
                # Not verified: the zlib stream has its own checksum.
                data = data[:-_FLETCHER32_SIZE]
            case _:
                planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, elements)
                data = np.ascontiguousarray(planes.T).reshape(-1).data
    if len(data) != size:
        reason = f"a chunk holds {len(data)} bytes instead of {size}"
        raise _refuse(reason)
    return np.frombuffer(data, dtype)
