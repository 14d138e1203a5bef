"""Taking entries out of the index that cuboids do not bear out.

Such entries are legal; they cost readers a look at a cuboid in vain. To take one out, it is not
enough to see that the cuboid has not the label: a painter may have entered it and be about to put.
So the object is touched first (the same voxels, another write-id, only if it is still the one
looked at), which makes that painter's put fail and go back to its start, where it enters the label
again. Without the touch, 1408 of 200 000 random interleavings lost an entry; with it, none.
"""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from ndlambda.cuboids.label_block import Change, LabelBlock
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.services.labels.index import IndexRow, LabelIndex, LabelLayer
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.support.pool import run_all
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.place import read_stored
from ndlambda.services.volume.replacement import Replacement
from ndlambda.stores.ports import ObjectStore


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did.

    Attributes
    ----------
    removed
        Stale cuboids that were taken from rows.
    left
        Rows with stale cuboids that others changed at the same time; sweep again.
    """

    removed: int = 0
    left: int = 0


class LabelSweep:
    """Makes the index equal to the truth, as far as nobody paints at the same time.

    Parameters
    ----------
    objects, index
        Supercuboids and the rows that tell where labels are.
    executor
        Threads, one for each bucket that is being swept.
    options
        Gives write-ids.
    """

    def __init__(
        self, objects: ObjectStore, index: LabelIndex, executor: Executor, options: VolumeOptions
    ) -> None:
        self._objects = objects
        self._index = index
        self._executor = executor
        self._options = options

    def sweep(self, dataset: Dataset, channel: Channel, label: int | None = None) -> Swept:
        """Take stale entries out, of one label or of all; also rows that have become empty.

        Safe beside painters, and harmless when repeated or broken off.
        """
        removed = left = 0
        for page in self._index.entries(channel.uid, label):
            buckets: dict[tuple[LabelLayer, int], list[IndexRow]] = defaultdict(list)
            for entry in page:
                buckets[entry.scope, entry.bucket].append(entry)
            tasks = (
                partial(self._sweep_bucket, LabelVolume.of_scope(dataset, channel, scope), entries)
                for (scope, _), entries in buckets.items()
            )
            for swept in run_all(self._executor, tasks):
                removed += swept.removed
                left += swept.left
        return Swept(removed, left)

    def _sweep_bucket(self, volume: LabelVolume, entries: Sequence[IndexRow]) -> Swept:
        """Sweep rows of one bucket. Their versions were read before any object is touched."""
        claims: dict[int, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        for entry in entries:
            for cuboid in entry.codes:
                code, slot = volume.supercuboid(cuboid)
                claims[code][slot].add(entry.label)
        stale: dict[int, set[int]] = defaultdict(set)
        missed: set[int] = set()
        for code, slots in claims.items():
            found, touched = self._stale(volume, code, slots)
            for label, members in found.items():
                if touched:
                    stale[label] |= members
                else:
                    missed.add(label)
        removed = 0
        for entry in entries:
            gone = stale[entry.label]
            if not gone and entry.members:
                continue
            if self._index.take_out(entry, gone):
                removed += len(gone)
            else:
                missed.add(entry.label)
        return Swept(removed, len(missed))

    def _stale(
        self, volume: LabelVolume, code: int, claims: dict[int, set[int]]
    ) -> tuple[dict[int, set[int]], bool]:
        """Return members that a supercuboid does not bear out, and whether it was touched since."""
        place = volume.place(code)
        stored = read_stored(self._objects, place)
        block = LabelBlock(None if stored is None else stored.data, volume.layout)
        first = volume.bucket(code)[1]
        stale: dict[int, set[int]] = defaultdict(set)
        for slot, labels in claims.items():
            for label in labels - block.labels(slot):
                stale[label].add(first + slot)
        if not stale:
            return stale, False
        replacement = Replacement(self._objects, place, self._options)
        return stale, replacement.put(stored, partial(block.rewritten, Change()))
