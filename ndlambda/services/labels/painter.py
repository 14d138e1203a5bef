"""Changing labels so that the index never misses one.

The order, for each supercuboid, is the whole of it:

1. get the object;
2. enter the labels that will appear, unconditionally;
3. read the versions of the rows of labels that will vanish from a cuboid;
4. put the object if it is still the one that was got (every put has a write-id of its own, so its
   ETag is new even where the voxels are old ones);
5. take the vanished labels out of rows that still have the version of step 3.

(Steps 2 and 3 may change places. In this order a label that leaves one cuboid of the object and
comes to another, which is the same row, leaves no entry too many: ADR 0010.)

Suppose a cuboid ends with a label whose entry was taken out. Then its painter entered it before the
taker read the version, so it got the object before the taker's put; the put of one of the two then
failed, or the taker saw the label. A process that dies anywhere, and a lost race at step 4 or 5,
leave entries too many, never too few; ``label_sweep`` takes them out. Painting twice is painting
once, so a call that failed half-way may be repeated.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import TypeAlias

from ndlambda.cuboids.label_block import Change, LabelBlock
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.support.pool import run_all
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.replacement import Replacement
from ndlambda.stores.ports import ObjectStore

Edit: TypeAlias = Callable[[LabelBlock], Change]
"""What shall become of a supercuboid; called again when the object has changed meanwhile."""


class LabelPainter:
    """Carries out edits of supercuboids of labels.

    Parameters
    ----------
    objects
        Where supercuboids lie.
    index
        Knows which cuboids hold a label.
    executor
        Threads, one for each supercuboid that is being changed.
    options
        Patience with other writers.
    """

    def __init__(
        self, objects: ObjectStore, index: LabelIndex, executor: Executor, options: VolumeOptions
    ) -> None:
        self._objects = objects
        self._index = index
        self._executor = executor
        self._options = options

    def edit_all(self, edits: Iterable[tuple[LabelVolume, int, Edit]]) -> None:
        """Carry out edits of many supercuboids (by Morton code), several at once.

        Raises
        ------
        WriteContentionError
            Other writers kept winning one supercuboid for too long.
        """
        run_all(self._executor, (partial(self.edit, *edit) for edit in edits))

    def edit(self, volume: LabelVolume, code: int, edit: Edit) -> None:
        """Carry out an edit of one supercuboid; as ``edit_all``."""
        layout = volume.layout
        bucket, first = volume.bucket(code)
        versions, gone = dict[int, int](), dict[int, set[int]]()
        replacement = Replacement(self._objects, volume.place(code), self._options)
        for stored in replacement.attempts():
            block = LabelBlock(None if stored is None else stored.data, layout)
            change = edit(block)
            if change.is_none:
                return
            gone = _members(change.vanished, first)
            self._index.add(volume.scope, bucket, _members(change.appeared, first))
            versions = self._index.versions(volume.scope, bucket, gone.keys())
            labels = frozenset(change.appeared.keys() | change.vanished.keys())
            replacement.put(stored, partial(block.rewritten, change), labels=labels)
        self._index.remove_if(volume.scope, bucket, gone, versions)


def _members(slots: Mapping[int, set[int]], first: int) -> dict[int, set[int]]:
    """Return the members of a bucket that slots are, by label."""
    return {label: {first + slot for slot in each} for label, each in slots.items()}
