"""Everything that a source of images holds."""

import numpy as np
from numpy.typing import NDArray

from ingest_queue.sources import Source


def stack(source: Source) -> NDArray[np.generic]:
    """Read a source in two slabs a time point: (t, z, y, x)."""
    times, depth = source.shape_tzyx[:2]
    middle = (depth + 1) // 2
    cuts = [(0, middle), (middle, depth)] if middle < depth else [(0, depth)]
    slabs = [[source.read(t, *cut) for cut in cuts] for t in range(times)]
    whole = np.stack([np.concatenate(parts) for parts in slabs])
    assert whole.dtype == source.dtype
    assert whole.shape == source.shape_tzyx
    assert whole.flags.c_contiguous
    assert source.dtype.byteorder in "<=|"
    return whole
