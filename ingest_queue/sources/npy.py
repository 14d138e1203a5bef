"""Reads ``.npy``: (z, y, x), (t, z, y, x) or one plane (y, x); never unpickled."""

import struct
from typing import Final

from ingest_queue.images.damage import reading
from ingest_queue.sources import Options, Place, Source
from ingest_queue.sources.arrays import open_array, plan_layout
from ingest_queue.sources.file_array import FileArray
from ndlambda.errors import MalformedBodyError
from ndlambda.wire.codecs.npy_header import read_header

SUFFIXES = (".npy",)
LACKS = ("level",)

AXES: Final = {2: "yx", 3: "zyx", 4: "tzyx"}


def matches(place: Place) -> bool:
    """Match by the suffix."""
    return place.is_file(*SUFFIXES)


def open_source(place: Place, options: Options) -> Source:
    """Read the header; see :func:`ingest_queue.sources.open_source`."""
    with reading(place.text), place.file.open("rb") as file:
        try:
            header = read_header(file.read)
        except (MalformedBodyError, struct.error, IndexError) as error:
            raise MalformedBodyError(
                f"{place.text} is no .npy file of plain numbers ({error}).", file=place.text
            ) from error
        start = file.tell()
    axes, shape = options.axes or AXES.get(len(header.shape), ""), header.shape
    if header.fortran:
        axes, shape = axes[::-1], shape[::-1]
    layout = plan_layout(place.text, axes, shape, options.channel)
    with reading(place.text):
        array = FileArray(place.file, header.dtype, shape, start, ends_file=True)
    return open_array(place.text, array, layout)
