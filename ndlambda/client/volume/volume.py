"""A channel that is indexed like a numpy array."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ndlambda.client.transport.blocks import Block, BlockPlan
from ndlambda.client.transport.progress import Progress, reporting
from ndlambda.client.transport.session import Session
from ndlambda.client.volume.geometry import ChannelGeometry, read_geometry
from ndlambda.client.volume.indexing import Interval, Key, Selection, parse_key
from ndlambda.client.volume.sending import Sender
from ndlambda.client.volume.transfer import BlockTransfer, Piece, WriteReport
from ndlambda.errors import DataTypeMismatchError, OutOfBoundsError, ShapeMismatchError
from ndlambda.space.box import Box


@dataclass(frozen=True, slots=True)
class VoxelSource:
    """The origin of a volume: session, token and its info document.

    ``max_body_bytes`` is the longest body that the server accepts in a request, None for any.
    """

    session: Session
    token: str
    info: Mapping[str, Any]
    max_body_bytes: int | None


class Volume:
    """One channel at one resolution: a (z, y, x) array on the server.

    Coordinates are dataset coordinates: they include the dataset's offset, so that a position has
    the same numbers in every tool. With ``volume.offset_zyx == (1, 0, 0)`` the first plane is
    ``volume[1]``, and ``volume[0]`` raises ``OutOfBoundsError``. Negative indices count from the
    end, integers drop their axis, steps are refused, and a slice that exceeds the volume is an
    error instead of being clipped.

    Up to three indices address z, y, x at one time point: the channel's first one, or the one of
    :meth:`at_time`. Four address t, z, y, x.

    Examples
    --------
    >>> volume = client.volume("kasthuri11", "image")  # doctest: +SKIP
    >>> volume[100:116, 4000:4256, 5000:5256].shape  # doctest: +SKIP
    (16, 256, 256)
    """

    def __init__(
        self, source: VoxelSource, channel: str, resolution: int = 0, time: int | None = None
    ) -> None:
        self._source = source
        self.channel = channel
        self.resolution = resolution
        self.geometry: ChannelGeometry = read_geometry(source.info, channel, resolution)
        first, last = self.geometry.times
        self.time = first if time is None else time
        if not first <= self.time < last:
            raise OutOfBoundsError(f"Time {time} is outside {first}:{last} of {channel!r}.")
        self._transfer = BlockTransfer(
            Sender(source.session, source.token, channel, source.max_body_bytes),
            resolution,
            BlockPlan(self.geometry.box.start_xyz, self.geometry.supercuboid_xyz),
        )

    @property
    def token(self) -> str:
        """The token that opened the volume."""
        return self._source.token

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size in voxels: (z, y, x)."""
        return self.geometry.box.shape_zyx

    @property
    def ndim(self) -> int:
        """Always 3; time is selected by address (see the class)."""
        return 3

    @property
    def dtype(self) -> np.dtype:
        """Little-endian dtype of a voxel."""
        return self.geometry.dtype

    @property
    def times(self) -> tuple[int, int]:
        """Half-open range of time points."""
        return self.geometry.times

    @property
    def offset_zyx(self) -> tuple[int, int, int]:
        """Coordinates of the first voxel: (z, y, x)."""
        x, y, z = self.geometry.box.start_xyz
        return z, y, x

    @property
    def box(self) -> Box:
        """The whole volume in dataset coordinates."""
        return self.geometry.box

    @property
    def voxelres(self) -> tuple[float, float, float]:
        """Voxel size in nanometres: (x, y, z), the field's usual order."""
        return self.geometry.voxelres_xyz

    def at(self, resolution: int) -> Self:
        """Return the same channel at another resolution (0 is the finest).

        Raises
        ------
        ResolutionNotFoundError
            The dataset has no such resolution.
        """
        return type(self)(self._source, self.channel, resolution, self.time)

    def at_time(self, time: int) -> Self:
        """Return the same volume at another time point.

        Raises
        ------
        OutOfBoundsError
            The channel has no such time point.
        """
        return type(self)(self._source, self.channel, self.resolution, time)

    def read(
        self,
        box: Box | None = None,
        *,
        times: Interval | None = None,
        progress: Progress = False,
    ) -> NDArray[Any]:
        """Read a box; a large one in parallel blocks.

        Parameters
        ----------
        box
            Dataset coordinates; None is the whole volume.
        times
            Half-open range of time points; None is this volume's time point.
        progress
            True shows a bar on a terminal; a function is called with (voxels done, total).

        Returns
        -------
        array
            (z, y, x), or (t, z, y, x) if times is given; the caller owns it. Voxels that were never
            written are 0.

        Raises
        ------
        OutOfBoundsError
            The box or the times exceed the volume.
        """
        block = self._block(box or self.box, times)
        with reporting(progress, block.voxels, f"read {self.channel}") as advance:
            array = self._transfer.read(block, self.dtype, advance)
        return array[0] if times is None else array

    def write(
        self,
        box: Box,
        array: ArrayLike,
        *,
        times: Interval | None = None,
        progress: Progress = False,
        skip_stored: bool = False,
    ) -> WriteReport:
        """Write a box; a large one in parallel blocks. Zeros never overwrite, see ``__setitem__``.

        Parameters
        ----------
        box
            Dataset coordinates.
        array
            (z, y, x), or (t, z, y, x) if times is given, or an array that numpy broadcasts to that.
            It must have the channel's dtype; Python numbers that fit it are accepted too.
        times, progress
            As for :meth:`read`.
        skip_stored
            Request the digest of each block first and send only blocks that differ.

        Returns
        -------
        report
            How many blocks and voxels were sent, already stored, or all zero (never sent).

        Raises
        ------
        ShapeMismatchError, DataTypeMismatchError, OutOfBoundsError
            Nothing was sent.
        """
        block = self._block(box, times)
        shape = box.shape_zyx if times is None else block.shape_tzyx
        whole = self._fitting(array, shape).reshape(block.shape_tzyx)
        return self.write_pieces(
            [Piece(block, whole)], block.voxels, progress=progress, skip_stored=skip_stored
        )

    def write_pieces(
        self,
        pieces: Iterable[Piece],
        voxels: int,
        *,
        progress: Progress = False,
        skip_stored: bool = False,
    ) -> WriteReport:
        """Write many pieces; each is taken from the iterable only when a request is free.

        Parameters
        ----------
        pieces
            Of this channel's dtype, inside the volume.
        voxels
            Their total, for the progress.
        """
        with reporting(progress, voxels, f"write {self.channel}") as advance:
            return self._transfer.write(pieces, advance, skip_stored=skip_stored)

    def __getitem__(self, key: Key) -> Any:
        """Read voxels by numpy indexing over dataset coordinates (see the class).

        Returns
        -------
        array
            (t,) z, y, x without the axes that an integer selected; a numpy scalar if all were.
        """
        selection = self._select(key)
        array = self.read(selection.box, times=selection.times)
        picked: list[int | slice] = [slice(None)] * array.ndim
        for axis in selection.dropped:
            picked[axis] = 0
        return array[tuple(picked)]

    def __setitem__(self, key: Key, value: ArrayLike) -> None:
        """Write voxels by numpy indexing over dataset coordinates (see the class).

        Zeros never overwrite: a zero in ``value`` leaves the stored voxel as it is (ndstore's rule,
        so that partial annotations can be overlaid). A float NaN is a value. Blocks that are all
        zero are not sent.
        """
        selection = self._select(key)
        array = self._fitting(value, selection.shape).reshape(selection.full_shape)
        self.write(selection.box, array, times=selection.times)

    def __array__(
        self, dtype: np.dtype | None = None, copy: bool | None = None
    ) -> NDArray[np.generic]:
        """Read the whole volume at its time point, for ``numpy.asarray(volume)``."""
        if copy is False:
            raise ValueError("the voxels are on the server; an array of them is always a copy")
        array = self.read()
        return array if dtype is None else array.astype(dtype, copy=False)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[np.generic]]:
        """Read plane by plane, in order of z."""
        first = self.offset_zyx[0]
        for z in range(first, first + len(self)):
            yield self[z]

    def __repr__(self) -> str:
        return (
            f"<Volume {self.token}/{self.channel} resolution {self.resolution} {self.dtype.name} "
            f"shape_zyx {self.shape} offset_zyx {self.offset_zyx} times {self.times}>"
        )

    def _select(self, key: Key) -> Selection:
        start, stop = self.box.start_xyz[::-1], self.box.stop_xyz[::-1]
        return parse_key(key, tuple(zip(start, stop, strict=True)), self.times)

    def _block(self, box: Box, times: Interval | None) -> Block:
        block = Block(box, times or (self.time, self.time + 1))
        (t0, t1), (first, last) = block.times, self.times
        if not box.within(self.box):
            raise OutOfBoundsError(
                f"The box {box.start_xyz} to {box.stop_xyz} (x,y,z) leaves the volume, which is "
                f"{self.box.start_xyz} to {self.box.stop_xyz}.",
            )
        if not first <= t0 < t1 <= last:
            raise OutOfBoundsError(f"The times {t0}:{t1} leave the channel's {first}:{last}.")
        return block

    def _fitting(self, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.generic]:
        array = self._of_dtype(value)
        try:
            return np.broadcast_to(array, shape)
        except ValueError:
            raise ShapeMismatchError(
                f"An array of shape {array.shape} does not fit the box of shape {shape}.",
                shape=list(array.shape),
                expected=list(shape),
            ) from None

    def _of_dtype(self, value: Any) -> NDArray[np.generic]:
        if isinstance(value, int) or (isinstance(value, float) and self.dtype.kind == "f"):
            try:
                return np.array(value, self.dtype)
            except OverflowError:
                raise DataTypeMismatchError(f"{value} does not fit {self.dtype.name}.") from None
        array = np.asarray(value)
        if array.dtype.newbyteorder("<") != self.dtype:
            raise DataTypeMismatchError(
                f"The array is {array.dtype.name}, the channel {self.dtype.name}; "
                f"convert it with array.astype({self.dtype.name!r}).",
                dtype=array.dtype.name,
                expected=self.dtype.name,
            )
        return array.astype(self.dtype, copy=False)
