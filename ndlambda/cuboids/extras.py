"""Encodes the extra labels of a supercuboid as the extras section of its object.

Without extra labels the section is empty. Otherwise, little endian::

    version u8 = 1 | zero 3 | labels u32 | runs u32 | pairs u32
    label u64                  each, ascending
    number of its runs u32     each
    first voxel u32, length u32 of each run, label by label, ascending

A voxel is ``slot * voxels of a cuboid + C-order index in the cuboid``. Runs are maximal, so a set
has exactly one encoding. They keep the section small, because extra labels are the overlap of two
objects, a few runs of x per plane; compression would save little more and would need a guard
against its expansion. The checksum of the object's header covers the section.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import CuboidDecodeError, PayloadTooLargeError
from ndlambda.voxels.extra_labels import ExtraLabels

MAX_PAIRS = 1 << 22
"""Most (voxel, extra label) pairs in a supercuboid: 64 MiB in memory."""

_VERSION = 1
_HEADER = struct.Struct("<B3xIII")
_RESERVED = slice(1, 4)
_RUN = np.dtype([("first", "<u4"), ("length", "<u4")])


def encode_extras(extra: ExtraLabels) -> bytes:
    """Return the extras section of extra labels.

    Raises
    ------
    PayloadTooLargeError
        There are more than ``MAX_PAIRS``.
    """
    if not len(extra):
        return b""
    if len(extra) > MAX_PAIRS:
        raise PayloadTooLargeError(
            f"One supercuboid would have {len(extra)} extra labels; {MAX_PAIRS} are allowed.",
            limit=MAX_PAIRS,
            asked=len(extra),
        )
    order = np.lexsort((extra.at, extra.labels))
    at, labels = extra.at[order], extra.labels[order]
    opens = np.ones(at.size, np.bool_)
    opens[1:] = (labels[1:] != labels[:-1]) | (at[1:] != at[:-1] + 1)
    starts = np.flatnonzero(opens)
    runs = np.empty(starts.size, _RUN)
    runs["first"] = at[starts]
    runs["length"] = np.diff(starts, append=at.size)
    distinct, counts = np.unique(labels[starts], return_counts=True)
    head = _HEADER.pack(_VERSION, distinct.size, starts.size, at.size)
    tables = (distinct.astype("<u8"), counts.astype("<u4"), runs)
    return b"".join([head, *(table.tobytes() for table in tables)])


def decode_extras(data: memoryview, voxels: int) -> ExtraLabels:
    """Return the extra labels of an extras section.

    Parameters
    ----------
    data
        The section.
    voxels
        Number of voxels in the supercuboid.

    Raises
    ------
    CuboidDecodeError
        It is not the output of ``encode_extras`` for a supercuboid of this size. Lengths are
        checked before anything is allocated.
    """
    if not len(data):
        return ExtraLabels.none()
    if len(data) < _HEADER.size:
        raise _damaged("it is too short")
    version, label_count, run_count, pairs = _HEADER.unpack_from(data)
    if version != _VERSION or any(data[_RESERVED]):
        raise _damaged("its version is unknown", version=version)
    if not 0 < label_count <= run_count <= pairs <= MAX_PAIRS:
        raise _damaged("its counts do not fit", labels=label_count, runs=run_count, pairs=pairs)
    counts_at = _HEADER.size + 8 * label_count
    runs_at = counts_at + 4 * label_count
    if len(data) != runs_at + _RUN.itemsize * run_count:
        raise _damaged("its length does not fit its counts")
    labels = np.frombuffer(data, "<u8", label_count, _HEADER.size)
    counts = np.frombuffer(data, "<u4", label_count, counts_at).astype(np.int64)
    runs = np.frombuffer(data, _RUN, run_count, runs_at)
    if labels[0] == 0 or (labels[1:] <= labels[:-1]).any():
        raise _damaged("its labels are not ascending")
    if not counts.all() or counts.sum() != run_count:
        raise _damaged("its numbers of runs do not fit")
    run_labels = np.repeat(labels, counts)
    first, length = runs["first"].astype(np.int64), runs["length"].astype(np.int64)
    _check_runs(run_labels, first, length, voxels)
    if length.sum() != pairs:
        raise _damaged("its runs do not make up its pairs")
    before = np.cumsum(length) - length
    at = np.arange(pairs, dtype=np.int64) + np.repeat(first - before, length)
    return ExtraLabels.of(at, np.repeat(run_labels, length))


def _check_runs(
    labels: NDArray[np.uint64], first: NDArray[np.int64], length: NDArray[np.int64], voxels: int
) -> None:
    stop = first + length
    if not length.all() or (stop > voxels).any():
        raise _damaged("a run is empty or leaves the supercuboid")
    if ((labels[1:] == labels[:-1]) & (first[1:] <= stop[:-1])).any():
        raise _damaged("two runs of a label touch or are out of order")


def _damaged(reason: str, **details: int) -> CuboidDecodeError:
    return CuboidDecodeError(f"The extra labels of a supercuboid are damaged: {reason}.", **details)
