"""Edits of all supercuboids that have some labels, found by the index.

The index may say too much, never too little, so nothing that has one of the labels is passed over.
What is painted with one of them meanwhile is found by another round, until the index has no entry
of them left. A process that dies leaves entries behind; whoever repeats the call goes on there.
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

_ROUNDS = 10

PartEdit: TypeAlias = Callable[[LabelBlock, Box | None], Change]
"""What shall become of a supercuboid in a box, in voxels from its corner; None: everywhere."""


class LabelRewrite:
    """Edits labels wherever they are.

    Parameters
    ----------
    index, painter, sweeper
        Where labels are, how supercuboids change, how stale entries go.
    marks
        What writes go through.
    """

    def __init__(
        self, index: LabelIndex, painter: LabelPainter, sweeper: LabelSweep, marks: Marks
    ) -> None:
        self._index = index
        self._painter = painter
        self._sweeper = sweeper
        self._marks = marks

    def until_gone(
        self,
        dataset: Dataset,
        channel: Channel,
        labels: Collection[int],
        edit: PartEdit,
        resolution: int | None,
    ) -> None:
        """Edit all supercuboids (of one resolution) that have labels which the edit takes out.

        Raises
        ------
        WriteContentionError
            Others keep painting one of the labels.
        """
        everywhere = partial(_everywhere, edit)
        remaining = set(labels)
        for _ in range(_ROUNDS):
            found = set[int]()
            for label in sorted(remaining):
                for page in self._index.entries(channel.uid, label):
                    entries = [each for each in page if resolution in {None, each.scope.resolution}]
                    if entries:
                        found.add(label)
                        targets = _supercuboids(dataset, channel, entries)
                        with self._marks.writing(channel, partial(_touched, targets)):
                            self._painter.edit_all((*target, everywhere) for target in targets)
            if not found:
                return
            for label in sorted(found):
                self._sweeper.sweep(dataset, channel, label)
            remaining = found
        raise WriteContentionError(
            f"Others keep painting label {min(remaining)}; send the request again.",
            label=min(remaining),
        )

    def in_region(
        self,
        channel: Channel,
        region: Region,
        labels: Collection[int],
        edit: PartEdit,
        check: Callable[[int], None],
    ) -> None:
        """Edit the part that lies in a region of all supercuboids that have labels there.

        ``check`` is called with their number first, and may refuse it.

        Raises
        ------
        InvalidArgumentError
            The channel is no annotation channel, or the near-isotropic variant is meant.
        WriteContentionError
            Other writers kept winning one supercuboid.
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
        with self._marks.writing(channel, partial(_touched, targets)):
            self._painter.edit_all(
                (*target, partial(_inside, edit, *target, region.box)) for target in targets
            )


def _supercuboids(
    dataset: Dataset, channel: Channel, entries: Collection[IndexRow]
) -> dict[tuple[LabelVolume, int], None]:
    """Return the supercuboids (Morton code) of entries, each once."""
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
