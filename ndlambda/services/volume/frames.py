"""Reads the stored frames of cuboids with few requests and bytes.

On S3 every request costs a round trip and a range saves bytes, but only the index at the end of an
object tells the position of a frame. So a reader caches the indexes with the ETag of their object,
and requests the range at once, conditionally on that ETag: the store detects a stale index. A stale
cache entry can cost a wasted request; it cannot return old voxels.
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
"""Objects of at most so many bytes of voxels are read whole if their index is not cached.

The second request of a read by index and range would cost more time than the bytes that it saves.
"""
_MAX_ENTRIES = 1 << 16
_RANGED_FRACTION = 4
_MAX_TORN_READS = 3

Frames = Mapping[int, memoryview]
"""Frames with their checksums, by slot; cuboids that are not stored are omitted."""


@dataclass(frozen=True, slots=True)
class _CachedIndex:
    """The shard index of the object with this ETag."""

    index: shard.ShardIndex
    etag: str


class _IndexCache:
    """The indexes of the objects read last, bounded by index entries; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._indexes: OrderedDict[str, _CachedIndex] = OrderedDict()
        self._entries = 0

    def get(self, key: str) -> _CachedIndex | None:
        with self._lock:
            cached = self._indexes.get(key)
            if cached is not None:
                self._indexes.move_to_end(key)
            return cached

    def put(self, key: str, cached: _CachedIndex) -> None:
        with self._lock:
            before = self._indexes.pop(key, None)
            self._indexes[key] = cached
            self._entries += len(cached.index.spans) - (len(before.index.spans) if before else 0)
            while self._entries > _MAX_ENTRIES:
                _, oldest = self._indexes.popitem(last=False)
                self._entries -= len(oldest.index.spans)


class FrameReader:
    """Reads frames of supercuboids from a store; thread-safe.

    Parameters
    ----------
    objects
        The store of supercuboids.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._cache = _IndexCache()

    def read(self, key: str, layout: CuboidLayout, parts: Sequence[SlotPart]) -> Frames | None:
        """Read the frames of cuboids, all of one version; return None if there is no object.

        Raises
        ------
        CuboidDecodeError
            The object's index is damaged. Frames are not checked.
        """
        if self._objects.whole_reads_are_cheap:
            return self._read_whole(key, layout, parts, cache=False)
        cached = self._cache.get(key)
        # Only reading a range verifies a cached index, so one without needed frames is not used.
        if cached is not None and any(cached.index.present(piece.slot) for piece in parts):
            frames = self._read_ranges(key, cached, layout, parts)
            if frames is not None:
                return frames
            cached = None
        few = len(parts) * _RANGED_FRACTION <= layout.slots
        if few and (cached is not None or layout.slots * layout.cuboid_bytes > WHOLE_UP_TO_BYTES):
            for _ in range(_MAX_TORN_READS):  # a write may come between index and range
                tail = self._objects.get(key, Suffix(layout.index_bytes))
                if tail is None:
                    return None
                index = shard.read_index(tail.data, layout, tail.size)
                cached = self._cache_index(key, index, tail.etag)
                frames = self._read_ranges(key, cached, layout, parts)
                if frames is not None:
                    return frames
        return self._read_whole(key, layout, parts)

    def _read_ranges(
        self, key: str, cached: _CachedIndex, layout: CuboidLayout, parts: Sequence[SlotPart]
    ) -> Frames | None:
        """Read frames by a cached index; return None if it is stale or reading all is as good."""
        plans = supercuboid.plan_ranges(cached.index, parts)
        max_parts = layout.slots // (2 if len(plans) == 1 else _RANGED_FRACTION)
        if len(parts) > max_parts:
            return None

        def fetch(start: int, stop: int) -> memoryview:
            piece = self._objects.get(key, Range(start, stop), if_match=cached.etag)
            # The response is checked, too: some S3-compatible stores ignore the condition.
            if piece is None or piece.etag != cached.etag:
                raise PreconditionFailedError("The supercuboid was replaced while being read.")
            return piece.data

        try:
            return supercuboid.fetch_frames(cached.index, plans, fetch)
        except PreconditionFailedError:
            return None

    def _read_whole(
        self, key: str, layout: CuboidLayout, parts: Sequence[SlotPart], *, cache: bool = True
    ) -> Frames | None:
        stored = self._objects.get(key)
        if stored is None:
            return None
        index = _index(stored, layout)
        if cache:
            self._cache_index(key, index, stored.etag)
        return _select(stored, index, parts)

    def _cache_index(self, key: str, index: shard.ShardIndex, etag: str) -> _CachedIndex:
        cached = _CachedIndex(index, etag)
        self._cache.put(key, cached)
        return cached


def frames_of(stored: StoredObject, layout: CuboidLayout, parts: Sequence[SlotPart]) -> Frames:
    """Return the frames of these cuboids from a whole object.

    Raises
    ------
    CuboidDecodeError
        The object's index is damaged. Frames are not looked at.
    """
    return _select(stored, _index(stored, layout), parts)


def _select(stored: StoredObject, index: shard.ShardIndex, parts: Sequence[SlotPart]) -> Frames:
    plans = supercuboid.plan_ranges(index, parts)
    return supercuboid.fetch_frames(index, plans, stored.part)


def _index(stored: StoredObject, layout: CuboidLayout) -> shard.ShardIndex:
    """Return the index at the end of a whole object."""
    start = max(0, stored.size - layout.index_bytes)
    return shard.read_index(stored.part(start, stored.size), layout, stored.size)
