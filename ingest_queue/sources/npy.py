"""Reads ``.npy``: (z, y, x), (t, z, y, x) or one plane (y, x); mapped, never unpickled."""

from typing import Final

import numpy as np

from ingest_queue.images.damage import reading
from ingest_queue.sources import Options, Place, Source
from ingest_queue.sources.arrays import open_array, plan_layout

SUFFIXES = (".npy",)

_AXES: Final = {2: "yx", 3: "zyx", 4: "tzyx"}


def matches(place: Place) -> bool:
    """Match by the suffix."""
    return place.is_file(*SUFFIXES)


def open_source(place: Place, options: Options) -> Source:
    """Map the file; see :func:`ingest_queue.sources.open_source`."""
    with reading(place.text):
        # Not np.load, which takes what has another magic for a pickle.
        array = np.lib.format.open_memmap(place.file, mode="r")
    axes = options.axes or _AXES.get(array.ndim, "")
    layout = plan_layout(place.text, axes, array.shape, options.channel)
    return open_array(place.text, array, layout)
