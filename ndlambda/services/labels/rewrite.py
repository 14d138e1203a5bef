"""Edits all supercuboids that hold some labels, found by the index.

The index is a superset of the stored labels, so no supercuboid is missed. Voxels that are painted
concurrently are found by another round, until the index has no entry of the labels left. After a
crash the remaining entries stay, and a repeated call continues with them.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import TypeAlias

from ndlambda.cuboids.label_block import Change, LabelBlock
from ndlambda.errors import WriteContentionError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.labels.index import IndexRow, LabelIndex, LabelLayer
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.painter import LabelPainter
from ndlambda.services.labels.sweep import LabelSweep
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.touched import Marks, TouchedSupercuboids
from ndlambda.space.box import Box

_MAX_ROUNDS = 10
_MAX_TARGETS = 10_000

PartEdit: TypeAlias = Callable[[LabelBlock, Box | None], Change]
"""Computes the change of a supercuboid in a box, in voxels from its corner; None: everywhere."""


class LabelRewrite:
    """Edits labels in all supercuboids that hold them.

    Parameters
    ----------
    index, painter, sweeper
        Find labels, change supercuboids, and remove stale entries.
    marks
        Tracks writes for propagation.
    """

    def __init__(
        self, index: LabelIndex, painter: LabelPainter, sweeper: LabelSweep, marks: Marks
    ) -> None:
        self._index = index
        self._painter = painter
        self._sweeper = sweeper
        self._marks = marks

    def until_removed(
        self,
        dataset: Dataset,
        channel: Channel,
        labels: Collection[int],
        edit: PartEdit,
        resolution: int | None,
    ) -> None:
        """Edit all supercuboids (of one resolution) that hold labels, until none is left.

        A supercuboid that several labels share is rewritten once for all of them (as long as there
        are no more than ``_MAX_TARGETS``, which bounds the memory).

        Raises
        ------
        WriteContentionError
            Others keep painting one of the labels.
        """
        remaining: Collection[int] = labels
        for _ in range(_MAX_ROUNDS):
            found = set[int]()
            targets: dict[tuple[LabelVolume, int], None] = {}
            for page in self._index.entries_of(channel.uid, remaining):
                entries = [each for each in page if resolution in {None, each.scope.resolution}]
                found.update(entry.label for entry in entries)
                targets |= _supercuboids(dataset, channel, entries)
                if len(targets) >= _MAX_TARGETS:
                    self._edit(channel, targets, edit)
                    targets = {}
            if not found:
                return
            self._edit(channel, targets, edit)
            self._sweeper.sweep(dataset, channel, found)
            remaining = found
        raise WriteContentionError(
            f"Others keep painting label {min(remaining)}; send the request again.",
            label=min(remaining),
        )

    def _edit(
        self, channel: Channel, targets: Collection[tuple[LabelVolume, int]], edit: PartEdit
    ) -> None:
        everywhere = partial(_everywhere, edit)
        with self._marks.track_write(channel, partial(_touched, targets)):
            self._painter.edit_all((*target, everywhere) for target in targets)

    def in_region(
        self,
        channel: Channel,
        region: Region,
        labels: Collection[int],
        edit: PartEdit,
        check: Callable[[int], None],
    ) -> None:
        """Edit all supercuboids that hold labels in a region, inside the region only.

        ``check`` is called with their number first, and may refuse it.

        Raises
        ------
        InvalidArgumentError
            The channel is not an annotation channel, or the region is near-isotropic.
        WriteContentionError
            The conditional write of a supercuboid kept failing.
        """
        targets: list[tuple[LabelVolume, int]] = []
        for volume in LabelVolume.of_region(channel, region):
            cells = volume.cells(region.box)
            codes = {
                volume.supercuboid(cuboid)[0]
                for label in labels
                for cuboid in self._index.cuboids(volume.scope, label, cells).tolist()
            }
            targets += [(volume, code) for code in sorted(codes)]
        check(len(targets))
        with self._marks.track_write(channel, partial(_touched, targets)):
            self._painter.edit_all(
                (*target, partial(_inside, edit, *target, region.box)) for target in targets
            )


def _supercuboids(
    dataset: Dataset, channel: Channel, entries: Collection[IndexRow]
) -> dict[tuple[LabelVolume, int], None]:
    """Return the distinct supercuboids (Morton code) of entries."""
    found: dict[tuple[LabelVolume, int], None] = {}
    for entry in entries:
        volume = LabelVolume.of_scope(dataset, channel, entry.scope)
        found.update(((volume, volume.supercuboid(cuboid)[0]), None) for cuboid in entry.codes)
    return found


def _touched(targets: Iterable[tuple[LabelVolume, int]]) -> Iterator[TouchedSupercuboids]:
    codes: dict[LabelLayer, list[int]] = {}
    for volume, code in targets:
        codes.setdefault(volume.scope, []).append(code)
    for scope, each in codes.items():
        yield TouchedSupercuboids(scope.resolution, scope.time_point, tuple(each))


def _everywhere(edit: PartEdit, block: LabelBlock) -> Change:
    return edit(block, None)


def _inside(edit: PartEdit, volume: LabelVolume, code: int, box: Box, block: LabelBlock) -> Change:
    x, y, z = volume.corner(code, 0)
    return edit(block, box.shifted((-x, -y, -z)))
