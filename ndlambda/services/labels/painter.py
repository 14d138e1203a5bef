"""Changes labels so that the index never misses one.

The guarantee rests on the order of effects for each supercuboid:

1. get the object;
2. add index entries for the labels that will appear, unconditionally;
3. read the versions of the rows of labels that will vanish from a cuboid;
4. write the object, conditionally on the ETag of step 1 (every write has a new write-id, so its
   ETag is new even if the voxels are unchanged);
5. remove the vanished labels from rows that still have the version of step 3.

(Steps 2 and 3 may be swapped. In this order, a label that moves from one cuboid of the object to
another, which is the same row, leaves no stale entry: ADR 0010.)

Proof: suppose a cuboid ends up with a label whose entry was removed. Then its painter added the
entry before the remover read the version, so it got the object before the remover's write. So the
write of one of the two failed, or the remover saw the label. A crash at any point, and a lost race
at step 4 or 5, leave too many entries, never too few; ``sweep`` removes them. Painting is
idempotent, so a call that failed half-way may be repeated.
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
"""Computes the change of a supercuboid; called again if the object has changed concurrently."""


class LabelPainter:
    """Edits supercuboids of labels.

    Parameters
    ----------
    objects
        The store of supercuboids.
    index
        The cuboids of each label.
    executor
        Threads, one for each supercuboid that is being changed.
    options
        Retry limits and write-ids.
    """

    def __init__(
        self, objects: ObjectStore, index: LabelIndex, executor: Executor, options: VolumeOptions
    ) -> None:
        self._objects = objects
        self._index = index
        self._executor = executor
        self._options = options

    def edit_all(self, edits: Iterable[tuple[LabelVolume, int, Edit]]) -> None:
        """Edit many supercuboids (by Morton code), several at once.

        Raises
        ------
        WriteContentionError
            The conditional write of a supercuboid kept failing for too long.
        """
        run_all(self._executor, (partial(self.edit, *edit) for edit in edits))

    def edit(self, volume: LabelVolume, code: int, edit: Edit) -> None:
        """Edit one supercuboid; see ``edit_all``."""
        layout = volume.layout
        bucket, first = volume.bucket(code)
        versions, vanished = dict[int, int](), dict[int, set[int]]()
        place = volume.place(code)
        replacement = Replacement(self._objects, place, self._options)
        for stored in replacement.attempts():
            with place.named_in_errors():
                block = LabelBlock(None if stored is None else stored.data, layout)
                change = edit(block)
            if change.is_none:
                return
            vanished = _members(change.vanished, first)
            self._index.add(volume.scope, bucket, _members(change.appeared, first))
            versions = self._index.versions(volume.scope, bucket, vanished.keys())
            labels = frozenset(change.appeared.keys() | change.vanished.keys())
            replacement.put(stored, partial(block.rewritten, change), labels=labels)
        self._index.remove_if(volume.scope, bucket, vanished, versions)


def _members(slots: Mapping[int, set[int]], first: int) -> dict[int, set[int]]:
    """Convert slots by label to members of a bucket; ``first`` is the member of slot 0."""
    return {label: {first + slot for slot in each} for label, each in slots.items()}
