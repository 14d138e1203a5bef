"""Reads NRRD (``.nrrd``, ``.nhdr`` with its data file): raw, gzip, bzip2; first axis fastest.

Planes in ascending order read a compressed file once from front to back.
"""

import bz2
import gzip
import re
import threading
import weakref
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.damage import needing, reading
from ingest_queue.sources import Options, Place, Source
from ingest_queue.sources.arrays import open_array, plan_layout
from ingest_queue.sources.checks import voxel_size
from ingest_queue.sources.file_array import FileArray
from ndlambda.errors import InvalidArgumentError, MalformedBodyError

SUFFIXES = (".nrrd", ".nhdr")
LACKS = ("level",)

_LIST_OF_FILES: Final = re.compile(rb"^data ?file: *LIST", re.MULTILINE | re.IGNORECASE)
_MAX_HEADER_BYTES: Final = 1 << 16

_AXES: Final = {2: "xy", 3: "xyz", 4: "xyzt"}
_KINDS: Final = {
    "time": "t",
    "list": "c",
    "vector": "c",
    "RGB-color": "s",
    "RGBA-color": "s",
    "3-color": "s",
    "4-color": "s",
}
"""Kinds of axes that are not spatial (NRRD format, section "per-axis field specifications")."""
_TYPES: Final = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_CODES: Final = {name: code for code, names in _TYPES.items() for name in names}
_PIECE_BYTES: Final = 1 << 24
_GZIP: Final = frozenset({"gzip", "gz"})
_BZIP2: Final = frozenset({"bzip2", "bz2"})


class _Inflated:
    """A compressed array (slowest axis first): read forward, reopened to go back.

    Parameters
    ----------
    file, start
        The file, and the offset of the compressed stream in it.
    skip
        Bytes of the inflated stream before the voxels; -1: the voxels end the stream.
    """

    def __init__(
        self, file: Path, start: int, skip: int, shape: tuple[int, ...], dtype: np.dtype
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._file = file
        self._start = start
        self._skip = skip
        self._stream: bz2.BZ2File | gzip.GzipFile | None = None
        self._lock = threading.Lock()
        with file.open("rb") as opened:
            opened.seek(start)
            self._bzip2 = opened.read(2) == b"BZ"

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read what is indexed; one index of the slowest axis is held at a time."""
        first, shape = 0, self.shape
        while isinstance(index[0], int):
            first += index[0] * prod(shape[1:])
            index, shape = index[1:], shape[1:]
        outer, inner, stride = index[0], index[1:], prod(shape[1:])
        with self._lock:
            runs = [
                self._run(first + at * stride, stride).reshape(shape[1:])[inner]
                for at in range(*outer.indices(shape[0]))
            ]
        return np.stack(runs)

    def _run(self, first: int, count: int) -> NDArray[Any]:
        if self._skip < 0:
            self._skip = self._inflated_bytes() - prod(self.shape) * self.dtype.itemsize
            if self._skip < 0:
                message = "the inflated stream is shorter than the voxels"
                raise ValueError(message)
        place = self._skip + first * self.dtype.itemsize
        stream = self._stream
        if stream is None or stream.tell() > place:
            stream = self._stream = self._begin()
        stream.seek(place)
        return np.frombuffer(stream.read(count * self.dtype.itemsize), self.dtype)

    def _inflated_bytes(self) -> int:
        """Inflate the stream once to its end; nothing else tells its length for certain."""
        stream = self._begin()
        while stream.read(_PIECE_BYTES):
            pass
        length = stream.tell()
        stream.close()
        return length

    def _begin(self) -> bz2.BZ2File | gzip.GzipFile:
        if self._stream is not None:
            self._stream.close()
        opened = self._file.open("rb")
        opened.seek(self._start)
        # Rewinding would go to the file's start, where the header is: hence reopened.
        stream = bz2.BZ2File(opened) if self._bzip2 else gzip.GzipFile(fileobj=opened)
        weakref.finalize(stream, opened.close)  # neither closes a file that it did not open
        return stream


def matches(place: Place) -> bool:
    """Match by the suffix."""
    return place.is_file(*SUFFIXES)


def open_source(place: Place, options: Options) -> Source:
    """Read the header; see :func:`ingest_queue.sources.open_source`."""
    with needing("pynrrd", "Reading NRRD"):
        import nrrd

    where = place.text
    try:
        with place.file.open("rb") as file, reading(where):
            if _LIST_OF_FILES.search(file.read(_MAX_HEADER_BYTES)):  # which pynrrd cannot read
                raise InvalidArgumentError(f"{where} has its voxels in several files; join them.")
            file.seek(0)
            header = dict(nrrd.read_header(file))
            start = file.tell()
    except (nrrd.NRRDError, StopIteration) as error:
        raise MalformedBodyError(f"{where} is not an NRRD file ({error}).") from error
    with reading(where):
        sizes = tuple(int(n) for n in header["sizes"])
        axes = options.axes or _axes(header, len(sizes))
        data, start = _data_file(place.file, header, start)
        array = _open_voxels(data, header, start, sizes[::-1])
        voxelres = _voxel_size(header, axes)
    layout = plan_layout(where, axes[::-1], sizes[::-1], options.channel)
    return replace(open_array(where, array, layout, voxelres), other_files=(data,))


def _axes(header: dict[str, Any], count: int) -> str:
    kinds = header.get("kinds", ())
    if any(kind in _KINDS for kind in kinds):
        spatial = iter("xyz")
        return "".join(_KINDS.get(kind) or next(spatial, "?") for kind in kinds)
    return _AXES.get(count, "")


def _data_file(file: Path, header: dict[str, Any], start: int) -> tuple[Path, int]:
    """Return the file of the voxels, and where what follows the header begins in it."""
    named = header.get("data file", header.get("datafile"))
    if named is None:
        return file, start
    if not isinstance(named, str) or "%" in named:
        raise InvalidArgumentError(f"{file} has its voxels in several files; join them.")
    return file.parent / named, 0


def _open_voxels(file: Path, header: dict[str, Any], start: int, shape: tuple[int, ...]) -> Any:
    order = ">" if header.get("endian") == "big" else "<"
    dtype = np.dtype(order + _CODES[header["type"]])
    start = _after_lines(file, start, int(header.get("line skip", header.get("lineskip", 0))))
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    if skip < -1:
        raise InvalidArgumentError(f"{file} has a byte skip of {skip}; it is 0 or more, or -1.")
    encoding = header["encoding"].lower()
    if encoding == "raw":
        size = prod(shape) * dtype.itemsize
        at = start + skip if skip >= 0 else file.stat().st_size - size  # -1: they end the file
        return FileArray(file, dtype, shape, at, ends_file=True)
    if encoding not in _GZIP | _BZIP2:
        raise InvalidArgumentError(f"{file} is encoded as {encoding}; save it raw or gzip.")
    return _Inflated(file, start, skip, shape, dtype)


def _after_lines(file: Path, start: int, lines: int) -> int:
    with file.open("rb") as opened:
        opened.seek(start)
        for _ in range(lines):
            opened.readline()
        return opened.tell()


def _voxel_size(header: dict[str, Any], axes: str) -> tuple[float, float, float] | None:
    """Read ``space directions`` or ``spacings``; the default unit is millimetres."""
    directions, spacings = header.get("space directions"), header.get("spacings")
    if directions is not None:
        lengths = [float(np.linalg.norm(row)) if row is not None else 0.0 for row in directions]
    elif spacings is not None:
        lengths = [float(length) for length in spacings]
    else:
        return None
    by_axis = dict(zip(axes, lengths, strict=True))
    spatial = {axis: length for axis, length in by_axis.items() if axis in "xyz"}
    units = header.get("space units", header.get("units", ()))
    return voxel_size(spatial, dict(zip("xyz", units, strict=False)), "mm")
