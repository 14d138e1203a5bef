"""Reads stored arrays of any axis order as planes (z, y, x)."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingest_queue.images.colours import packed
from ingest_queue.images.damage import reading
from ingest_queue.sources import Source
from ndlambda.errors import InvalidArgumentError

_KNOWN: Final = frozenset("tczyxs")
_PLANE: Final = "zyxs"


@dataclass(frozen=True, slots=True)
class AxisLayout:
    """The meaning of the axes of a stored array.

    Attributes
    ----------
    axes
        One letter a stored axis: time t, channel c, z, y, x, and s for the samples of a colour.
    shape
        Of the stored array.
    channel
        The channel to read, if there is such an axis.
    """

    axes: str
    shape: tuple[int, ...]
    channel: int = 0

    def size(self, axis: str) -> int:
        """Return the length of an axis, 1 if it is absent."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def shape_tzyx(self) -> tuple[int, int, int, int]:
        """Size in voxels."""
        return self.size("t"), self.size("z"), self.size("y"), self.size("x")

    def index(self, t: int, z0: int, z1: int) -> tuple[int | slice, ...]:
        """Return the index of planes ``z0 <= z < z1`` into the stored array."""
        found: dict[str, int | slice] = {"t": t, "c": self.channel, "z": slice(z0, z1)}
        return tuple(found.get(axis, slice(None)) for axis in self.axes)

    def turn(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Transpose indexed planes to (z, y, x) or (z, y, x, s)."""
        left = [axis for axis in self.axes if axis in _PLANE]
        order = [left.index(axis) for axis in _PLANE if axis in left]
        turned = planes.transpose(order)
        return turned if "z" in left else turned[None]


def plan_layout(
    where: str, axes: str, shape: tuple[int, ...], channel: int | None = None
) -> AxisLayout:
    """Return the layout of an array.

    Raises
    ------
    InvalidArgumentError
        The axes are not those of an image, there are no voxels, or no existing channel is chosen.
    """
    if not axes:
        raise InvalidArgumentError(
            f"{where} has the shape {shape} and does not say which axis is which; give the axes, "
            "as in tczyx (--from-axes of the commands)."
        )
    if len(axes) != len(shape) or len(set(axes)) != len(axes) or not set(axes) <= _KNOWN:
        raise InvalidArgumentError(
            f"{where} has the shape {shape}, which the axes {axes!r} do not describe; axes are "
            "letters of t, c, z, y, x, one for each (--from-axes of the commands)."
        )
    if not {"y", "x"} <= set(axes) or prod(shape) == 0:
        raise InvalidArgumentError(f"{where} has the shape {shape} (axes {axes}): no planes y, x.")
    layout = AxisLayout(axes, shape, channel or 0)
    channels = layout.size("c")
    if channel is None and channels > 1:
        raise InvalidArgumentError(
            f"{where} has {channels} channels; choose one, 0 to {channels - 1}.", channels=channels
        )
    if layout.channel >= channels:
        raise InvalidArgumentError(
            f"{where} has the channels 0 to {channels - 1}, not {channel}.", channels=channels
        )
    if "s" in axes and layout.size("s") not in {3, 4}:
        raise InvalidArgumentError(f"{where} has {layout.size('s')} samples a pixel; RGB has 3.")
    return layout


@dataclass(frozen=True, slots=True)
class ArraySource:
    """An array that reads what it is indexed with; see :class:`ingest_queue.sources.Source`.

    Attributes
    ----------
    where
        Path or URL, for messages.
    array
        Indexed with integers and slices; ``np.asarray`` converts the result.
    layout
        Which axis is which.
    dtype
        Voxel dtype, little endian; voxels are converted to it.
    other_files
        See :func:`ingest_queue.sources.other_files`.
    second
        Another way into the same voxels, to verify by; see
        :func:`ingest_queue.sources.second_reading`.
    """

    where: str
    array: Any
    layout: AxisLayout
    dtype: np.dtype
    voxelres_xyz: tuple[float, float, float] | None = None
    labels_allowed: bool = True
    other_files: tuple[Path, ...] = ()
    second: Source | None = None

    @property
    def shape_tzyx(self) -> tuple[int, int, int, int]:
        """Size in voxels."""
        return self.layout.shape_tzyx

    def read(self, t: int, z0: int, z1: int) -> NDArray[np.generic]:
        """Read planes: (z, y, x)."""
        with reading(self.where):
            planes = self.layout.turn(np.asarray(self.array[self.layout.index(t, z0, z1)]))
        voxels = packed(planes) if planes.ndim == 4 else planes
        return np.ascontiguousarray(voxels, self.dtype)


def open_array(
    where: str,
    array: Any,
    layout: AxisLayout,
    voxelres_xyz: tuple[float, float, float] | None = None,
    *,
    labels_allowed: bool = True,
) -> ArraySource:
    """Return the source of an array that has a numpy `dtype`.

    Raises
    ------
    InvalidArgumentError
        Its values are not supported: text, records, complex numbers, 16-bit colours.
    """
    samples = np.dtype(array.dtype)
    colour = "s" in layout.axes
    if samples.kind not in "buif" or (colour and samples != np.uint8):
        raise InvalidArgumentError(
            f"{where} holds {samples}, of which no voxels are made; convert the data first."
        )
    dtype = np.dtype("<u4") if colour else samples.newbyteorder("<")
    return ArraySource(where, array, layout, dtype, voxelres_xyz, labels_allowed)
