"""Datasets out of HDF5 files that may be hostile.

HDF5 would follow links out of the file, read other files as part of a dataset, and inflate a chunk
as far as it goes. So every link must be hard, every dataset must lie in the file itself, and
chunks with gzip, which is nearly all that clients send, are inflated here, to the length that a
chunk has and no further. (igzip is also the faster of the two.)
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

_MOST_CHUNKS: Final = 1 << 16
_CHUNK_SLACK: Final = 1 << 24
"""Bytes that a chunk may have over the dataset: chunks may be larger than what they hold."""

_LARGEST_LZF_CHUNK: Final = 1 << 20
"""Of what h5py chooses by itself; LZF grows at most 88-fold, and its filter has no bound."""

_LONGEST_TEXT: Final = 1 << 20
"""Bytes of a string of fixed length, which need not be in the file to be made."""

_GZIP, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
_FLETCHER32_SIZE: Final = 4

_DAMAGE: Final = (
    OSError,  # what libhdf5 reports of a damaged or truncated file
    KeyError,  # an object that cannot be opened
    RuntimeError,  # most other faults of libhdf5
    ValueError,  # a selection or layout that makes no sense
    TypeError,  # a datatype with no counterpart in numpy
    AttributeError,  # an object that is not of the kind its link leads to
    OverflowError,  # a size beyond the machine's
    UnicodeError,  # a name that is no UTF-8
)


def _refuse(reason: str) -> MalformedBodyError:
    return MalformedBodyError(f"The HDF5 file is refused: {reason}.")


@contextmanager
def open_bytes(body: bytes | memoryview) -> "Iterator[h5py.Group]":
    """Open a file that lies in memory; what h5py raises inside becomes MalformedBodyError.

    Yields
    ------
    h5py.Group
        The root, readable until the context ends.

    Raises
    ------
    MalformedBodyError
        It is no HDF5 file, or is damaged.
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
    """Return a group below another, or None where there is none of this name.

    Raises
    ------
    MalformedBodyError
        The name is a link of another kind than hard, or leads to something else.
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
    """Read a dataset that must be just what was promised.

    Returns
    -------
    numpy.ndarray
        Little-endian, of new memory.

    Raises
    ------
    DataTypeMismatchError, ShapeMismatchError
        Its dtype or shape are others.
    MalformedBodyError
        There is none, it does not lie in the file alone, has other filters than gzip, lzf,
        shuffle and fletcher32, or is damaged.
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
        # Not worth its risk: libhdf5 crashes on fill values that are damaged.
        reason = f"{name} has a fill value of its own"
        raise _refuse(reason)
    out = np.zeros(promise.shape, promise.dtype)
    if _GZIP in filters:
        _read_gzip_chunks(found, filters, chunk, out)
    else:
        h5py.Dataset(found).read_direct(out)
    return out


def find_numbers(group: "h5py.Group", name: str) -> "tuple[np.dtype[Any], tuple[int, ...]] | None":
    """Return dtype and shape that a dataset of numbers declares, or None where there is none.

    Whoever finds them small enough makes them the promise of ``read_dataset``.

    Raises
    ------
    DataTypeMismatchError
        It holds something else than integers or floats.
    MalformedBodyError
        It does not lie in the file alone.
    """
    found = _open_stored(group, name)
    return None if found is None else (_number_dtype(found, name), found.shape or ())


def find_text(group: "h5py.Group", name: str, body: bytes | memoryview) -> str | None:
    """Return the one text of a dataset of strings, fixed or variable, or None where there is none.

    Parameters
    ----------
    group, name
        Which dataset.
    body
        The bytes of the file.

    Raises
    ------
    MalformedBodyError
        It does not lie in the file alone, has filters, or does not hold just one string.
    """
    import h5py

    found = _open_stored(group, name)
    if found is None:
        return None
    kind = found.get_type()
    if (
        not isinstance(kind, h5py.h5t.TypeStringID)
        or kind.get_size() > _LONGEST_TEXT
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
    """Return where the one reference of a dataset lies in its file, or None: never written."""
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
    """Return a dataset whose bytes lie in this file, or None where there is none."""
    import h5py

    if not _has_hard_link(group, name):
        return None
    found = h5py.h5o.open(group.id, name.encode())
    if not isinstance(found, h5py.h5d.DatasetID):
        reason = f"{name} is no dataset"
        raise _refuse(reason)
    layout = found.get_create_plist()
    # Before anything else is asked: the shape of a virtual dataset may open its sources.
    if layout.get_layout() not in {h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED}:
        reason = f"{name} is a virtual dataset"
        raise _refuse(reason)
    if layout.get_external_count():
        reason = f"{name} lies in other files"
        raise _refuse(reason)
    return found


def _number_dtype(dataset: "h5py.h5d.DatasetID", name: str) -> np.dtype[Any]:
    """Return the dtype if it is one of numpy's integers or floats, bit for bit."""
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
    """Refuse what could grow beyond the promise while it is read."""
    unknown = set(filters) - {_GZIP, _SHUFFLE, _FLETCHER32, _LZF}
    if unknown or len(set(filters)) < len(filters) or {_GZIP, _LZF} <= set(filters):
        reason = f"its filters {filters} are not gzip or lzf, shuffle and fletcher32"
        raise _refuse(reason)
    largest = _LARGEST_LZF_CHUNK if _LZF in filters else promise.nbytes + _CHUNK_SLACK
    if chunk_bytes > largest:
        reason = f"its chunks have {chunk_bytes} bytes; at most {largest} are read"
        raise _refuse(reason)


def _read_gzip_chunks(
    dataset: "h5py.h5d.DatasetID",
    filters: tuple[int, ...],
    chunk: tuple[int, ...],
    out: NDArray[Any],
) -> None:
    """Fill `out` with the chunks that are there."""
    stored = dataset.get_type().dtype
    grid = [range(0, edge, step) for edge, step in zip(out.shape, chunk, strict=True)]
    if math.prod(map(len, grid)) > _MOST_CHUNKS:
        reason = f"it has over {_MOST_CHUNKS} chunks"
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
    """Undo the filters of one chunk, last first."""
    size = elements * dtype.itemsize
    for position in reversed(range(len(filters))):
        match filters[position]:
            case code if code == _GZIP:
                tail = _FLETCHER32_SIZE if _FLETCHER32 in filters[:position] else 0
                data = inflate_exactly(data, size + tail)
            case code if code == _FLETCHER32:
                # Not compared: the zlib stream has a checksum of its own.
                data = data[:-_FLETCHER32_SIZE]
            case _:
                planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, elements)
                data = np.ascontiguousarray(planes.T).reshape(-1).data
    if len(data) != size:
        reason = f"a chunk holds {len(data)} bytes instead of {size}"
        raise _refuse(reason)
    return np.frombuffer(data, dtype)
