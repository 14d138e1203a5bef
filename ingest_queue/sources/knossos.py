"""Reads KNOSSOS cubes: ``knossos.conf`` and ``mag1/x0000/y0000/z0000/*.raw`` of 128³ bytes."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.damage import reading
from ingest_queue.sources import MissingSlices, Options, Place, Source
from ingest_queue.sources.file_array import FileArray
from ndlambda.errors import InvalidArgumentError, MalformedBodyError, NotFoundError

SUFFIXES = ("folder of KNOSSOS cubes",)
LACKS = ("channel",)

_EDGE: Final = 128
_CONFIGURATION: Final = "knossos.conf"
_FACT: Final = re.compile(r'^\s*(?:(boundary|scale) ([xyz])|(experiment name))\s+"?([^";]+)"?\s*;')


@dataclass(frozen=True, slots=True)
class KnossosSource:
    """A folder of cubes; see :class:`ingest_queue.sources.Source`.

    Attributes
    ----------
    folder
        Of one magnification.
    name
        Prefix of the cubes' names.
    gaps
        Whether a missing cube counts as zeros.
    """

    folder: Path
    name: str
    shape_tzyx: tuple[int, int, int, int]
    voxelres_xyz: tuple[float, float, float] | None
    gaps: MissingSlices
    labels_allowed: bool = True

    @property
    def dtype(self) -> np.dtype:
        """Always uint8."""
        return np.dtype(np.uint8)

    def read(self, t: int, z0: int, z1: int) -> NDArray[np.generic]:
        """Read planes: (z, y, x), from the cubes that contain them."""
        assert t == 0, "KNOSSOS has one time point"
        _, _, height, width = self.shape_tzyx
        planes = np.zeros((z1 - z0, height, width), np.uint8)
        for cz in range(z0 // _EDGE, -(-z1 // _EDGE)):
            low, high = max(z0, cz * _EDGE), min(z1, (cz + 1) * _EDGE)
            for cy in range(-(-height // _EDGE)):
                for cx in range(-(-width // _EDGE)):
                    cube = self._cube(cx, cy, cz)
                    part = planes[
                        low - z0 : high - z0,
                        cy * _EDGE : (cy + 1) * _EDGE,
                        cx * _EDGE : (cx + 1) * _EDGE,
                    ]
                    if cube is not None:
                        _, rows, columns = part.shape
                        inside = slice(low - cz * _EDGE, high - cz * _EDGE)
                        part[...] = cube[inside, :rows, :columns]
        return planes

    def _cube(self, x: int, y: int, z: int) -> FileArray | None:
        name = f"{self.name}_x{x:04}_y{y:04}_z{z:04}.raw"
        file = self.folder / f"x{x:04}" / f"y{y:04}" / f"z{z:04}" / name
        if not file.is_file():
            if self.gaps is MissingSlices.ZERO:
                return None
            raise NotFoundError(
                f"{file} is missing; let missing cubes be zeros (gaps: zero) if that is meant.",
                file=str(file),
            )
        if file.stat().st_size != _EDGE**3:
            raise MalformedBodyError(f"{file} does not have {_EDGE**3} bytes.", file=str(file))
        with reading(str(file)):
            return FileArray(file, self.dtype, (_EDGE, _EDGE, _EDGE))


def matches(place: Place) -> bool:
    """Match by the configuration file, in the folder or in that of a magnification."""
    return _find_configuration(place) is not None


def _find_configuration(place: Place) -> Path | None:
    folder = place.folder
    if folder is None:
        return None
    for candidate in (folder / _CONFIGURATION, folder / "mag1" / _CONFIGURATION):
        if candidate.is_file():
            return candidate
    return None


def open_source(place: Place, options: Options) -> Source:
    """Read the configuration; see :func:`ingest_queue.sources.open_source`."""
    configuration, folder = _find_configuration(place), place.folder
    assert configuration is not None, "matches() found it"
    assert folder is not None, "matched as a folder"
    facts: dict[str, str] = {}
    with reading(str(configuration)):
        for line in configuration.read_text("utf-8").splitlines():
            if found := _FACT.match(line):
                facts[found[3] or f"{found[1]} {found[2]}"] = found[4].strip()
        x, y, z = (int(facts[f"boundary {axis}"]) for axis in "xyz")
        scale_x, scale_y, scale_z = (float(facts[f"scale {axis}"]) for axis in "xyz")
        name = facts["experiment name"]
    factor = 2**options.level
    magnified = folder / f"mag{factor}"
    folder = magnified if magnified.is_dir() else folder
    if not (folder / "x0000").is_dir() or (options.level and folder != magnified):
        raise InvalidArgumentError(f"{place.text} has no cubes of magnification {factor}.")
    if "_mag" not in name:
        name = f"{name}_mag{factor}"
    name = re.sub(r"_mag\d+$", f"_mag{factor}", name)
    shape = (1, -(-z // factor), -(-y // factor), -(-x // factor))
    scale = (scale_x * factor, scale_y * factor, scale_z * factor)
    return KnossosSource(folder, name, shape, scale, options.gaps)
