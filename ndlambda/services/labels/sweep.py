"""Removes stale entries from the index: those whose cuboid does not have the label.

Stale entries are legal; each costs readers a useless read of a cuboid. To remove one, it is not
enough that the cuboid lacks the label: a painter may have added the entry and be about to write. So
the object is touched first (rewritten with the same voxels and a new write-id, conditionally on its
ETag). This makes that painter's write fail, and it starts again by adding the entry. Without the
touch, 1408 of 200 000 random interleavings lost an entry; with it, none.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
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
    """Counts of a sweep.

    Attributes
    ----------
    removed
        Stale cuboids removed from rows.
    left
        Rows with stale cuboids that changed concurrently; sweep again.
    """

    removed: int = 0
    left: int = 0


class LabelSweep:
    """Makes the index exact, except for concurrent changes.

    Parameters
    ----------
    objects, index
        Supercuboids, and the cuboids of each label.
    executor
        Threads, one for each bucket that is being swept.
    options
        Issues write-ids.
    """

    def __init__(
        self, objects: ObjectStore, index: LabelIndex, executor: Executor, options: VolumeOptions
    ) -> None:
        self._objects = objects
        self._index = index
        self._executor = executor
        self._options = options

    def sweep(
        self, dataset: Dataset, channel: Channel, labels: Collection[int] | None = None
    ) -> Swept:
        """Remove stale entries and empty rows, of some labels or of all.

        Safe concurrently with painters; idempotent, and may be interrupted.
        """
        removed = left = 0
        index = self._index
        pages = (
            index.entries(channel.uid) if labels is None else index.entries_of(channel.uid, labels)
        )
        for page in pages:
            buckets: dict[tuple[LabelLayer, int], list[IndexRow]] = defaultdict(list)
            for entry in page:
                buckets[entry.scope, entry.bucket].append(entry)
            tasks = (
                partial(self._stale_in, LabelVolume.of_scope(dataset, channel, scope), entries)
                for (scope, _), entries in buckets.items()
            )
            found = run_all(self._executor, tasks)
            stale = [pair for pairs, _ in found for pair in pairs]
            changed = index.remove_stale(stale)
            removed += sum(len(members) for entry, members in stale if entry not in changed)
            left += len(changed) + sum(missed for _, missed in found)
        return Swept(removed, left)

    def _stale_in(
        self, volume: LabelVolume, entries: Sequence[IndexRow]
    ) -> tuple[list[tuple[IndexRow, AbstractSet[int]]], int]:
        """Return the stale members of rows of one bucket, and the number of rows not looked at.

        The rows' versions were read before any object is touched.
        """
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
        pairs = [(entry, stale[entry.label]) for entry in entries]
        return [(entry, members) for entry, members in pairs if members or not entry.members], len(
            missed
        )

    def _stale(
        self, volume: LabelVolume, code: int, claims: dict[int, set[int]]
    ) -> tuple[dict[int, set[int]], bool]:
        """Return the stale members of a supercuboid by label, and whether it was touched."""
        place = volume.place(code)
        stored = read_stored(self._objects, place)
        first = volume.bucket(code)[1]
        stale: dict[int, set[int]] = defaultdict(set)
        with place.named_in_errors():
            block = LabelBlock(None if stored is None else stored.data, volume.layout)
            for slot, labels in claims.items():
                for label in labels - block.labels(slot):
                    stale[label].add(first + slot)
        if not stale:
            return stale, False
        replacement = Replacement(self._objects, place, self._options)
        return stale, replacement.put(stored, partial(block.rewritten, Change()))
