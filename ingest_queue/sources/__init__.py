"""Sources of image data: one module for each input format, found by discovery of this folder.

A module is a source if it has ``SUFFIXES`` (for messages), ``matches(place)`` and
``open_source(place, options)``; one with ``FALLBACK = True`` is asked after all others, and one
with ``HAS_PARTS = True`` reads what is named inside of a file. ``LACKS`` names the options that
mean nothing to it (``channel``, ``level``) and are refused. Modules without ``matches`` are
shared code. Opening a source reads headers only; voxels are read slab by
slab.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import InvalidArgumentError, NotFoundError, UnknownNameError
from ndlambda.wire.discovery import modules


class MissingSlices(StrEnum):
    """How a missing slice, tile or cube is treated: as an error, as zeros, or left out."""

    ERROR = "error"
    ZERO = "zero"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Options:
    """What a file does not say.

    Attributes
    ----------
    channel
        The channel to read, from 0.
    level
        The resolution to read; 0 is the finest.
    gaps
        How missing pieces are treated.
    axes
        Letters of t, c, z, y, x, one for each stored axis, for files that do not name them. Of
        slices: of z, c and -, one for each number in which their names differ.
    size_xyz
        Size in voxels, for tiles behind a URL, which cannot be listed.
    defer_faults
        Whether slices whose headers are damaged or differ from the others fail when they are read,
        not on opening.
    """

    channel: int | None = None
    level: int = 0
    gaps: MissingSlices = MissingSlices.ERROR
    axes: str | None = None
    size_xyz: tuple[int, int, int] | None = None
    defer_faults: bool = False


DEFAULTS: Final = Options()
_PARTS: Final = "HAS_PARTS"
_LACKS: Final = "LACKS"


@dataclass(frozen=True, slots=True)
class Place:
    """The location of a source.

    Attributes
    ----------
    text
        As it was given, for messages.
    path
        A file or folder that exists; None for a URL or a pattern of names.
    inside
        The path within it: ``volumes/raw`` of ``file.h5:/volumes/raw``; empty for all.
    """

    text: str
    path: Path | None
    inside: str = ""

    @property
    def is_url(self) -> bool:
        """Whether it is read over HTTP."""
        return self.text.startswith(("http://", "https://"))

    def is_file(self, *suffixes: str) -> bool:
        """Whether it is a file whose name ends in one of the suffixes (in lower case)."""
        path = self.path
        return path is not None and path.is_file() and path.name.lower().endswith(suffixes)

    @property
    def folder(self) -> Path | None:
        """The folder, ``inside`` included; None if it is not a folder."""
        if self.path is None or not self.path.is_dir():
            return None
        return self.path / self.inside if self.inside else self.path

    @property
    def file(self) -> Path:
        """The path, for a source that matched a file or folder."""
        assert self.path is not None, "matched as a file or folder"
        return self.path


class Source(Protocol):
    """An opened stack of images."""

    @property
    def shape_tzyx(self) -> tuple[int, int, int, int]:
        """Size in voxels; 1 time point if the format has no time."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Voxel dtype as returned by ``read``, little endian."""
        ...

    @property
    def voxelres_xyz(self) -> tuple[float, float, float] | None:
        """Voxel size in nanometres, None if unknown."""
        ...

    @property
    def labels_allowed(self) -> bool:
        """Whether voxels are as they were saved; lossy or scaled ones cannot be labels."""
        ...

    def read(self, t: int, z0: int, z1: int) -> NDArray[np.generic]:
        """Read planes ``z0 <= z < z1`` of a time point: (z, y, x), C order, little endian.

        Raises
        ------
        MalformedBodyError
            A file is damaged; the message names it.
        """
        ...


def second_reading(source: Source) -> Source:
    """Return a source of the same voxels that reads them another way, where there is one.

    What is stored is compared with it, so that a mistake of the reader does not confirm itself.
    """
    return cast(Source, getattr(source, "second", None) or source)


def other_files(source: Source) -> tuple[Path, ...]:
    """Return the files that a source takes voxels from, beside the one that was opened."""
    return cast(tuple[Path, ...], getattr(source, "other_files", ()))


class _Format(Protocol):
    SUFFIXES: tuple[str, ...]

    def matches(self, place: Place) -> bool: ...

    def open_source(self, place: Place, options: Options) -> Source: ...


@cache
def _formats() -> tuple[_Format, ...]:
    found = [module for module in modules(__name__) if hasattr(module, "matches")]
    found.sort(key=lambda module: getattr(module, "FALLBACK", False))
    return tuple(cast(_Format, module) for module in found)


def find_place(location: str | Path) -> Place:
    """Return the place of a path, a URL, or a path with something inside of it.

    Raises
    ------
    NotFoundError
        It is a path that does not exist.
    """
    text = str(location)
    if text.startswith(("http://", "https://")):
        return Place(text, None)
    if Path(text).exists():
        return Place(text, Path(text))
    outer, mark, inside = text.rpartition(":")
    if mark and Path(outer).exists():
        return Place(text, Path(outer), inside.strip("/"))
    if "{" in text:
        return Place(text, None)
    raise NotFoundError(f"There is no file or folder {text}.")


def open_source(location: str | Path, options: Options = DEFAULTS) -> Source:
    """Open a file, folder or URL of images by its headers.

    Parameters
    ----------
    location
        A path; ``file.h5:/volume`` names something inside of it; a URL of another server.
    options
        What the file does not say.

    Raises
    ------
    NotFoundError
        Nothing is at the path.
    UnknownNameError
        No source reads such a file.
    MalformedBodyError, ShapeMismatchError, DataTypeMismatchError, InvalidArgumentError
        The file is damaged, slices differ from one another, the folder is empty, an option must be
        given, or something is named inside of a file that holds one volume.
    """
    place = find_place(location)
    for candidate in _formats():
        if candidate.matches(place):
            if place.inside and place.folder is None and not getattr(candidate, _PARTS, False):
                raise InvalidArgumentError(
                    f"{place.path} holds one volume, in which nothing can be named: leave out "
                    f":{place.inside}."
                )
            _check_options(place.text, options, getattr(candidate, _LACKS, ()))
            return candidate.open_source(place, options)
    known = [suffix for candidate in _formats() for suffix in candidate.SUFFIXES]
    raise UnknownNameError("source", place.path.name if place.path else place.text, known)


def _check_options(where: str, options: Options, lacking: Collection[str]) -> None:
    for name, what in (("channel", "channels"), ("level", "resolutions")):
        number = getattr(options, name)
        if number and name in lacking:
            raise InvalidArgumentError(
                f"{where} has no several {what}; leave out {name} {number} (--from-{name})."
            )
