"""The stored frames of cuboids, by as few requests and bytes as the store rewards.

On S3 every request waits for an answer and a range saves bytes, but where a frame lies is told by
the index at the object's end only. So a reader remembers the indexes that it met, with the ETag
of their object, and asks for the range at once, under that ETag: the store itself says whether the
index is out of date. What is remembered can cost a request in vain; it cannot give old voxels.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ndlambda.cuboids import shard, supercuboid
from ndlambda.cuboids.layout import CuboidLayout, SlotPart
from ndlambda.errors import PreconditionFailedError
from ndlambda.stores.ports import ObjectStore, Range, StoredObject, Suffix

WHOLE_UP_TO_BYTES = 2 << 20
"""Objects of at most so many bytes of voxels are read whole when nothing is known of them.

The second request of a read by index and range would cost more time than the bytes that it saves.
"""
_MOST_ENTRIES = 1 << 16
_RANGED_FRACTION = 4
_TORN_READS = 3

Frames = Mapping[int, memoryview]
"""Frames with their checksums, by slot; cuboids that are not stored are not in it."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The shard index of the object that has this ETag."""

    index: shard.ShardIndex
    etag: str


class _Recent:
    """What is known of the objects read last; bounded by index entries; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._entries = 0

    def get(self, key: str) -> _Known | None:
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
            return known

    def put(self, key: str, known: _Known) -> None:
        with self._lock:
            before = self._known.pop(key, None)
            self._known[key] = known
            self._entries += len(known.index.spans) - (len(before.index.spans) if before else 0)
            while self._entries > _MOST_ENTRIES:
                _, oldest = self._known.popitem(last=False)
                self._entries -= len(oldest.index.spans)


class FrameReader:
    """Gets frames of supercuboids out of a store; safe for threads.

    Parameters
    ----------
    objects
        Where supercuboids lie.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._recent = _Recent()

    def read(self, key: str, layout: CuboidLayout, parts: Sequence[SlotPart]) -> Frames | None:
        """Get the frames of these cuboids, all of one version; None where there is no object.

        Raises
        ------
        CuboidDecodeError
            The object's index is damaged. Frames are not looked at.
        """
        if self._objects.whole_reads_are_cheap:
            return self._read_whole(key, layout, parts, remember=False)
        known = self._recent.get(key)
        # Only a range shows that its index is still true; where none is needed, nothing does.
        if known is not None and any(known.index.present(piece.slot) for piece in parts):
            frames = self._read_ranges(key, known, layout, parts)
            if frames is not None:
                return frames
            known = None
        few = len(parts) * _RANGED_FRACTION <= layout.slots
        if few and (known is not None or layout.slots * layout.cuboid_bytes > WHOLE_UP_TO_BYTES):
            for _ in range(_TORN_READS):  # a writer may come between index and range
                tail = self._objects.get(key, Suffix(layout.index_bytes))
                if tail is None:
                    return None
                known = self._learn(key, tail, layout)
                frames = self._read_ranges(key, known, layout, parts)
                if frames is not None:
                    return frames
        return self._read_whole(key, layout, parts)

    def _read_ranges(
        self, key: str, known: _Known, layout: CuboidLayout, parts: Sequence[SlotPart]
    ) -> Frames | None:
        """Get frames under the known ETag; None where it has passed or the whole is as good."""
        plans = supercuboid.plan_ranges(known.index, parts)
        most = layout.slots // (2 if len(plans) == 1 else _RANGED_FRACTION)
        if len(parts) > most:
            return None

        def fetch(start: int, stop: int) -> memoryview:
            piece = self._objects.get(key, Range(start, stop), if_match=known.etag)
            # Asked for once more of the answer: some look-alikes of S3 overlook the condition.
            if piece is None or piece.etag != known.etag:
                raise PreconditionFailedError("The supercuboid was replaced while being read.")
            return piece.data

        try:
            return supercuboid.fetch_frames(known.index, plans, fetch)
        except PreconditionFailedError:
            return None

    def _read_whole(
        self, key: str, layout: CuboidLayout, parts: Sequence[SlotPart], *, remember: bool = True
    ) -> Frames | None:
        stored = self._objects.get(key)
        if stored is None:
            return None
        index = self._learn(key, stored, layout).index if remember else _index(stored, layout)
        return _select(stored, index, parts)

    def _learn(self, key: str, read: StoredObject, layout: CuboidLayout) -> _Known:
        known = _Known(_index(read, layout), read.etag)
        self._recent.put(key, known)
        return known


def frames_of(stored: StoredObject, layout: CuboidLayout, parts: Sequence[SlotPart]) -> Frames:
    """Return the frames of these cuboids from a whole object.

    Raises
    ------
    CuboidDecodeError
        The object's index is damaged. Frames are not looked at.
    """
    return _select(stored, _index(stored, layout), parts)


def _select(stored: StoredObject, index: shard.ShardIndex, parts: Sequence[SlotPart]) -> Frames:
    spans = ((piece.slot, index.spans[piece.slot]) for piece in parts)
    return {slot: stored.data[span.start : span.stop] for slot, span in spans if span}


def _index(read: StoredObject, layout: CuboidLayout) -> shard.ShardIndex:
    """Return the index at the end of what was read, which is all of an object or its tail."""
    return shard.read_index(read.data[-layout.index_bytes :], layout, read.size)
