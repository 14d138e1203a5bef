"""Reads and writes voxels of a channel in supercuboids.

Arrays are (t, z, y, x), C-ordered, of the channel's little-endian dtype. Boxes are zero-based
voxels of one resolution (dataset offset already subtracted).
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids import supercuboid
from ndlambda.cuboids.codec import is_zero
from ndlambda.cuboids.layout import CuboidLayout, needed_slots
from ndlambda.errors import (
    InvalidStateError,
    PayloadTooLargeError,
    ReadOnlyChannelError,
)
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.propagation import PropagateState
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.support.pool import run_all
from ndlambda.services.volume.changes import plan_clear, plan_paste
from ndlambda.services.volume.frames import FrameReader, frames_of
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.place import SupercuboidPlace, read_absent
from ndlambda.services.volume.region import Region, layout_of
from ndlambda.services.volume.replacement import Replacement
from ndlambda.services.volume.shown import shown_labels
from ndlambda.services.volume.touched import Marks, NoMarks, TouchedSupercuboids
from ndlambda.space.box import Box
from ndlambda.space.grid import Cell, cover
from ndlambda.space.pyramid import Level
from ndlambda.stores.ports import ObjectStore
from ndlambda.voxels.zoom import source_axes, source_box, take_zyx

_MAX_SOURCE_FACTOR = 64
_ALONE = 4
_SHARED_FROM_BYTES = 4 << 20

_Task = Callable[[], None]


class VolumeService:
    """Reads and writes boxes of voxels; safe under concurrent writers of one supercuboid.

    Parameters
    ----------
    objects
        The store of supercuboids.
    executor
        Threads that read, decode, encode and write; its size bounds the bytes in flight.
    budget
        Bound on the memory of all running calls.
    options
        Size and retry limits.
    marks
        Tracks writes for propagation; by default nothing is tracked.
    """

    def __init__(
        self,
        objects: ObjectStore,
        executor: Executor,
        budget: ByteBudget,
        options: VolumeOptions | None = None,
        marks: Marks | None = None,
    ) -> None:
        self._objects = objects
        self._frames = FrameReader(objects)
        self._executor = executor
        self._options = options or VolumeOptions()
        self.budget = budget
        self.marks = marks or NoMarks()

    # --- reading ---------------------------------------------------------------------------

    def check_size(self, region: Region, *channels: Channel) -> None:
        """Refuse a region that is outside the volume or too large, before anything is allocated.

        Parameters
        ----------
        region, channels
            What is read or written; a channel counts as often as it is given.

        Raises
        ------
        OutOfBoundsError
            The region exceeds the volume.
        PayloadTooLargeError
            It has more voxels, or touches more supercuboids, than one call may.
        """
        region.check()
        self.check_voxels(region.voxels * len(channels))
        # One voxel at each of very many time points is work, too.
        self._options.check_read(
            sum(region.supercuboids(channel) for channel in channels),
            region.cuboids * len(channels),
        )

    def check_read(self, supercuboids: int) -> None:
        """Refuse to read too many supercuboids; see ``VolumeOptions``."""
        self._options.check_read(supercuboids)

    @property
    def max_voxels(self) -> int:
        """Maximum number of voxels that one call may read or write."""
        return self._options.cutout_voxels

    def check_voxels(self, voxels: int) -> None:
        """Refuse more voxels than one call may read or write.

        Raises
        ------
        PayloadTooLargeError
        """
        limit = self._options.cutout_voxels
        if voxels > limit:
            raise PayloadTooLargeError(
                f"{voxels} voxels exceed the limit of {limit}; ask for smaller boxes.",
                limit=limit,
                asked=voxels,
            )

    def read(self, dataset: Dataset, channel: Channel, region: Region) -> NDArray[Any]:
        """Read a region into a new (t, z, y, x) array; missing data is zero.

        Missing supercuboids are zoomed by nearest neighbour from the channel's own resolution: at
        finer levels always, at coarser ones until the channel's propagation begins.

        Raises
        ------
        OutOfBoundsError, PayloadTooLargeError
            See ``check_size``.
        CuboidDecodeError
            A stored supercuboid is damaged.
        """
        self.check_size(region, channel)
        out = np.empty(region.shape_tzyx, channel.dtype)
        layout = layout_of(channel, region.level)
        finer_by = channel.resolution - region.level.resolution
        zoomed = not region.neariso and (
            finer_by > 0 or (finer_by < 0 and channel.propagate == PropagateState.NOT_PROPAGATED)
        )
        base = dataset.pyramid.level(channel.resolution)
        if zoomed:
            self.check_zoom(region, base, channel)

        cells = tuple(cover(region.box, layout.supercuboid_xyz))
        # Passing a cuboid to another thread costs a quarter of decoding a small one.
        few = len(cells) * (region.times[1] - region.times[0]) < _ALONE
        shared = few and out.nbytes >= _SHARED_FROM_BYTES

        def read_cell(time_point: int, cell: Cell) -> Sequence[_Task]:
            target = out[time_point - region.times[0]]
            target = target[cell.part.slices_zyx(region.box.start_xyz)]
            place = _place(channel, region, time_point, cell)
            decodings = self._read_object(place, layout, cell, target)
            if decodings is None:
                target[...] = 0
                if zoomed:
                    asked = Region(region.level, cell.part, (time_point, time_point + 1))
                    self._read_zoomed(channel, base, asked, target)
                return ()
            return decodings if shared else _do_all(decodings)

        rest = run_all(
            self._executor,
            (partial(read_cell, t, cell) for t in range(*region.times) for cell in cells),
        )
        run_all(self._executor, chain.from_iterable(rest))
        return shown_labels(channel, out) if channel.is_annotation else out

    def _read_object(
        self, place: SupercuboidPlace, layout: CuboidLayout, cell: Cell, target: NDArray[Any]
    ) -> Sequence[_Task] | None:
        """Read a cell's part and return tasks that decode it into target; None if not stored.

        There is a task for each cuboid, as a box of few supercuboids would leave threads idle
        otherwise.
        """
        x, y, z = cell.box.start_xyz
        pieces = needed_slots(layout, cell.part.shifted((-x, -y, -z)))
        with place.named_in_errors():
            frames = self._frames.read(place.key, layout, pieces)
            if frames is None:
                absent = read_absent(place)
                if absent is None:
                    return None
                frames = frames_of(absent, layout, pieces)
        decode = place.named_in_errors()(supercuboid.decode_part)
        return [partial(decode, frames.get(piece.slot), layout, piece, target) for piece in pieces]

    def check_zoom(self, region: Region, base: Level, *channels: Channel) -> None:
        """Refuse a region that needs too many voxels or supercuboids of another level.

        Raises
        ------
        PayloadTooLargeError
        """
        source = source_box(region.box, region.level, base)
        limit = self._options.cutout_voxels * _MAX_SOURCE_FACTOR
        if source.voxels * (region.times[1] - region.times[0]) > limit:
            raise PayloadTooLargeError(
                f"Showing resolution {region.level.resolution} would read {source.voxels} voxels "
                f"of resolution {base.resolution}; propagate the channel or ask for a smaller box.",
                limit=limit,
                asked=source.voxels,
            )
        read = Region(base, source, region.times)
        self._options.check_read(sum(read.supercuboids(channel) for channel in channels))

    def _read_zoomed(
        self, channel: Channel, base: Level, asked: Region, target: NDArray[Any]
    ) -> None:
        """Fill target (z, y, x) from the channel's own level, one source cell at a time."""
        source = Region(base, source_box(asked.box, asked.level, base), asked.times)
        layout = layout_of(channel, base)
        axes = source_axes(asked.box, asked.level, base, centre=not channel.is_annotation)
        for cell in cover(source.box, layout.supercuboid_xyz):
            block = np.empty(cell.part.shape_zyx, channel.dtype)
            place = _place(channel, source, asked.times[0], cell)
            decodings = self._read_object(place, layout, cell, block)
            if decodings is None:
                continue
            _do_all(decodings)
            picks, places = [], []
            for axis, lo, hi in zip(axes, cell.part.start_xyz, cell.part.stop_xyz, strict=True):
                first, last = np.searchsorted(axis, (lo, hi))
                picks.append(axis[first:last] - lo)
                places.append(slice(int(first), int(last)))
            if all(pick.size for pick in picks):
                target[places[2], places[1], places[0]] = take_zyx(
                    block, (picks[2], picks[1], picks[0])
                )

    # --- writing ---------------------------------------------------------------------------

    def check_writable(self, channel: Channel) -> None:
        """Refuse to write to a channel that is read-only or under propagation.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
        """
        if channel.readonly:
            raise ReadOnlyChannelError(
                f"Channel {channel.name!r} is read-only.", channel=channel.name
            )
        if channel.propagate == PropagateState.UNDER_PROPAGATION:
            raise InvalidStateError(
                f"Channel {channel.name!r} is being propagated; write again when it has finished.",
                channel=channel.name,
            )

    def write(self, channel: Channel, region: Region, array: NDArray[Any]) -> None:
        """Write the non-zero voxels of a (t, z, y, x) array; zeros never erase (ndstore's rule).

        Every supercuboid is replaced by one conditional write, so concurrent writers of overlapping
        boxes lose nothing. Idempotent: a call that fails half-way may be repeated.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            See ``check_writable``.
        OutOfBoundsError, PayloadTooLargeError
            See ``check_size``.
        WriteContentionError
            The conditional write of a supercuboid kept failing for ``contention_s``.
        """
        self.check_writable(channel)
        self.check_size(region, channel)

        def write_cell(time_point: int, cell: Cell) -> None:
            values = array[time_point - region.times[0]]
            values = values[cell.part.slices_zyx(region.box.start_xyz)]
            if not is_zero(values):
                place = _place(channel, region, time_point, cell)
                with np.errstate(invalid="ignore"):  # a signalling NaN is a voxel like another
                    self._write_cell(place, cell, values, region.bounds)

        self._change_cells(channel, region, write_cell)

    def clear(self, channel: Channel, region: Region, array: NDArray[Any]) -> None:
        """Clear the voxels that are zero in a (t, z, y, x) array; others stay.

        Together with a ``write`` of the same array this replaces the region. Safe under concurrent
        writers, and idempotent; raises as ``write``.
        """
        self.check_writable(channel)
        self.check_size(region, channel)

        def clear_cell(time_point: int, cell: Cell) -> None:
            values = array[time_point - region.times[0]]
            values = values[cell.part.slices_zyx(region.box.start_xyz)]
            if not values.all():
                place = _place(channel, region, time_point, cell)
                self._clear_cell(place, cell, values == 0)

        self._change_cells(channel, region, clear_cell)

    def _change_cells(
        self, channel: Channel, region: Region, change: Callable[[int, Cell], None]
    ) -> None:
        cells = tuple(cover(region.box, layout_of(channel, region.level).supercuboid_xyz))
        with self.marks.track_write(
            channel, partial(TouchedSupercuboids.by_region, channel, region)
        ):
            run_all(
                self._executor,
                (partial(change, t, cell) for t in range(*region.times) for cell in cells),
            )

    def _clear_cell(self, place: SupercuboidPlace, cell: Cell, where: NDArray[np.bool_]) -> None:
        layout = layout_of(place.channel, place.level)
        replacement = Replacement(self._objects, place, self._options)
        for stored in replacement.attempts():
            if stored is None:
                return
            with place.named_in_errors():
                replaced = plan_clear(stored.data, layout, cell, where)
            if not replaced:
                return
            replacement.put(
                stored, partial(supercuboid.splice, stored.data, layout, replaced), cell.part
            )

    def _write_cell(
        self, place: SupercuboidPlace, cell: Cell, values: NDArray[Any], bounds: Box
    ) -> None:
        """Paste values over one supercuboid by conditional writes until one succeeds.

        A whole supercuboid is first written unread, but never over an unread object: a request that
        the network delivers twice would undo what others wrote since.
        """
        layout = layout_of(place.channel, place.level)
        whole = cell.box.intersection(bounds) == cell.part
        replacement = Replacement(self._objects, place, self._options)
        for stored in replacement.attempts(unread=whole):
            data = None if stored is None or (whole and values.all()) else stored.data
            with place.named_in_errors():
                replaced = plan_paste(data, layout, cell, values)
            if not replaced:
                return
            replacement.put(stored, partial(supercuboid.splice, data, layout, replaced), cell.part)


def _place(channel: Channel, region: Region, time_point: int, cell: Cell) -> SupercuboidPlace:
    return SupercuboidPlace(channel, region.level, time_point, cell.code, region.neariso)


def _do_all(tasks: Iterable[_Task]) -> Sequence[_Task]:
    """Run tasks in this thread; return no remaining ones."""
    for task in tasks:
        task()
    return ()
