"""What image data is read from: one file an input format, found by discovery of this folder.

A module of this folder is a source if it has ``SUFFIXES`` (for messages), ``matches(path)`` and
``open_source(path)``. Sources are opened by their headers only; voxels are read slab by slab.
"""

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import InvalidArgumentError, NotFoundError, UnknownNameError


class Source(Protocol):
    """An opened stack of images."""

    @property
    def shape_tzyx(self) -> tuple[int, int, int, int]:
        """Size in voxels; 1 time point where the format has no time."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Of a voxel as ``read`` gives it, little endian."""
        ...

    @property
    def voxelres_xyz(self) -> tuple[float, float, float] | None:
        """Voxel size in nanometres, None where the format does not tell."""
        ...

    def read(self, t: int, z0: int, z1: int) -> NDArray[np.generic]:
        """Read planes ``z0 <= z < z1`` of a time point: (z, y, x), C order, little endian.

        Raises
        ------
        MalformedBodyError
            A file turned out to be damaged; the message names it.
        """
        ...


class _Format(Protocol):
    SUFFIXES: tuple[str, ...]

    def matches(self, path: Path) -> bool: ...

    def open_source(self, path: Path) -> Source: ...


@cache
def _formats() -> tuple[_Format, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(cast(_Format, importlib.import_module(f"{__name__}.{name}")) for name in names)


def open_source(path: Path) -> Source:
    """Open a file or folder of images by its headers.

    Raises
    ------
    NotFoundError
        Nothing is at the path.
    UnknownNameError
        No source reads such a file.
    MalformedBodyError, ShapeMismatchError, DataTypeMismatchError, InvalidArgumentError
        The file is damaged, slices differ from one another, the folder is empty.
    """
    if not path.exists():
        raise NotFoundError(f"There is no file or folder {path}.")
    for candidate in _formats():
        if candidate.matches(path):
            return candidate.open_source(path)
    known = [suffix for candidate in _formats() for suffix in candidate.SUFFIXES]
    raise UnknownNameError("source", path.name, known)


def spatial_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Give (t, z, y, x) of an array of 2 (y, x), 3 (z, y, x) or 4 (t, z, y, x) axes.

    Raises
    ------
    InvalidArgumentError
        It has another number of axes, or no voxels.
    """
    if not 2 <= len(shape) <= 4 or 0 in shape:
        raise InvalidArgumentError(
            f"{path} has the shape {shape}; give (z,y,x), (t,z,y,x) or one plane (y,x)."
        )
    t, z, y, x = (*(1,) * (4 - len(shape)), *shape)
    return t, z, y, x
