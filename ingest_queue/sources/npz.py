"""Reads a ``.npz`` of one array, as ``ndlambda get`` writes it; its axes are those of ``.npy``."""

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.damage import reading
from ingest_queue.sources import Options, Place, Source
from ingest_queue.sources.arrays import open_array, plan_layout
from ingest_queue.sources.npy import AXES
from ndlambda.errors import InvalidArgumentError, MalformedBodyError
from ndlambda.wire.codecs.npy_header import read_header

SUFFIXES = (".npz",)
LACKS = ("level",)


@dataclass(slots=True)
class _Archived:
    """The array of an archive, which is inflated as a whole when it is first indexed."""

    path: Path
    name: str
    dtype: np.dtype
    _voxels: NDArray[Any] | None = None
    _lock: Lock = field(default_factory=Lock)

    def __getitem__(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        with self._lock:
            if self._voxels is None:
                with np.load(self.path, allow_pickle=False) as archive:
                    self._voxels = archive[self.name]
        found: NDArray[Any] = self._voxels[index]
        return found


def matches(place: Place) -> bool:
    """Match by the suffix."""
    return place.is_file(*SUFFIXES)


def open_source(place: Place, options: Options) -> Source:
    """Read the header of the one array; see :func:`ingest_queue.sources.open_source`."""
    where = place.text
    if not zipfile.is_zipfile(place.file):
        raise MalformedBodyError(f"{where} is no .npz file.", file=where)
    with reading(where), zipfile.ZipFile(place.file) as archive:
        names = archive.namelist()
        if len(names) != 1 or not names[0].endswith(".npy"):
            raise InvalidArgumentError(
                f"{where} holds {', '.join(names) or 'nothing'}; save one array in it."
            )
        with archive.open(names[0]) as member:
            header = read_header(member.read)
    layout = plan_layout(
        where, options.axes or AXES.get(len(header.shape), ""), header.shape, options.channel
    )
    array = _Archived(place.file, names[0].removesuffix(".npy"), header.dtype)
    return open_array(where, array, layout)
