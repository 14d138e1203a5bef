"""Writes cutouts as files for other programs: one module per format, found by discovery.

A module of this package is a format if it has ``SUFFIXES`` and ``write(path, cutout)``.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from ndlambda.errors import UnknownNameError
from ndlambda.wire.discovery import modules


@dataclass(frozen=True, slots=True)
class Cutout:
    """Voxels, and the metadata that a file format may store with them.

    Attributes
    ----------
    array
        (z, y, x) or (t, z, y, x), little endian.
    channel, channel_type
        The channel they come from.
    corner_xyz
        Dataset coordinates of the first voxel.
    voxelres_xyz
        Voxel size in nanometres.
    """

    array: NDArray[Any]
    channel: str
    channel_type: str
    corner_xyz: tuple[int, int, int]
    voxelres_xyz: tuple[float, float, float]


class _ExportFormat(Protocol):
    SUFFIXES: tuple[str, ...]

    def write(self, path: Path, cutout: Cutout) -> None: ...


@cache
def _formats() -> dict[str, _ExportFormat]:
    formats = [cast(_ExportFormat, module) for module in modules(__name__)]
    return {suffix: form for form in formats for suffix in form.SUFFIXES}


def known_suffixes() -> list[str]:
    """Return the suffixes of all formats, sorted."""
    return sorted(_formats())


def suffix_of(path: Path) -> str:
    """Return the suffix that selects a path's format (``.nii.gz`` as a whole).

    Raises
    ------
    UnknownNameError
        No format has the suffix.
    """
    matching = [suffix for suffix in _formats() if path.name.lower().endswith(suffix)]
    if not matching:
        raise UnknownNameError("output format", path.name, known_suffixes())
    return max(matching, key=len)


@contextmanager
def finished_file(path: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a name to write to; the file gets its own name only when complete.

    Parameters
    ----------
    suffix
        Of the name, for writers that look at it.

    Raises
    ------
    OSError
        The file cannot be written; its ``filename`` is the path, not the name yielded.
    """
    partial = path.with_name(f".{path.name}.partial{suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno or errno.EIO, reason, str(path)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_cutout(path: Path, cutout: Cutout) -> None:
    """Write a file in the format of its suffix; it gets its name only when complete.

    Raises
    ------
    UnknownNameError
        No format has the path's suffix.
    OSError
        The file cannot be written.
    """
    suffix = suffix_of(path)
    with finished_file(path, suffix) as partial:
        _formats()[suffix].write(partial, cutout)
