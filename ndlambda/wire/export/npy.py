"""NumPy's ``.npy``, and ``.npz`` (a compressed archive with the one array ``cutout``)."""

from pathlib import Path

import numpy as np

from ndlambda.wire.export import Cutout

SUFFIXES = (".npy", ".npz")


def write(path: Path, cutout: Cutout) -> None:
    """Write (t,) z, y, x."""
    if path.name.endswith(".npy"):
        np.save(path, cutout.array)
    else:
        np.savez_compressed(path, allow_pickle=False, cutout=cutout.array)
