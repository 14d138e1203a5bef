"""The conditional replacement of one supercuboid: read, change, put if it is unchanged, else again.

A put whose answer was lost fails its own retry. Every put has a write-id of its own, so the next
attempt recognises the object as this writer's and ends.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from ndlambda.cuboids.shard import WRITE_ID_BYTES
from ndlambda.errors import PreconditionFailedError
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.place import (
    SupercuboidChange,
    SupercuboidPlace,
    read_absent,
    read_stored,
)
from ndlambda.space.box import Box
from ndlambda.stores.ports import Create, ObjectStore, Range, Replace, StoredObject

HEAD = Range(0, WRITE_ID_BYTES)
"""The part of an object that tells its ETag and write-id without its voxels."""


class Replacement:
    """Replaces one supercuboid, attempt by attempt.

    ::

        replacement = Replacement(objects, place, options)
        for stored in replacement.attempts():
            ...
            if unchanged:
                return
            replacement.put(stored, lambda write_id: body)

    The loop ends when a put succeeded (or turns out to have).

    Parameters
    ----------
    objects
        Stores supercuboids.
    place
        Which one.
    options
        Patience with other writers, write-ids, and who is told of changes.
    """

    def __init__(
        self, objects: ObjectStore, place: SupercuboidPlace, options: VolumeOptions
    ) -> None:
        self._objects = objects
        self._place = place
        self._options = options
        self._tried: SupercuboidChange | None = None
        self._write_id = b""
        self._is_done = False

    def attempts(
        self, part: Range | None = None, *, unread: bool = False
    ) -> Iterator[StoredObject | None]:
        """Iterate over states of the supercuboid until one is replaced; None where it is absent.

        Parameters
        ----------
        part
            What is read of the object, its first bytes at least; None means all of it.
        unread
            Whether the first attempt takes it for absent without asking: the put will tell.

        Raises
        ------
        WriteContentionError
            Other writers kept winning for ``contention_s``.
        """
        for attempt in self._options.attempts(self._place.key):
            if unread and attempt == 0:
                stored = read_absent(self._place)
            else:
                stored = read_stored(self._objects, self._place, part)
            if stored is not None and self._is_own(stored):
                return
            yield stored
            if self._is_done:
                return

    def put(
        self,
        stored: StoredObject | None,
        body: Callable[[bytes], bytes],
        box: Box | None = None,
        labels: frozenset[int] = frozenset(),
    ) -> bool:
        """Put a body if the supercuboid is unchanged since ``stored``; return whether it was.

        Parameters
        ----------
        stored
            What it was made from.
        body
            Takes a write-id and returns all bytes of the object.
        box, labels
            What changes, see ``SupercuboidChange``; by default all of the supercuboid.
        """
        self._write_id = self._options.new_write_id()
        old_etag = None if stored is None else stored.etag or None
        self._tried = SupercuboidChange(
            self._place, self._place.box if box is None else box, labels, old_etag, ""
        )
        data = body(self._write_id)
        try:
            mode = Create() if old_etag is None else Replace(old_etag)
            etag = self._objects.put(self._place.key, data, mode)
        except PreconditionFailedError:
            return False
        self._announce(etag)
        return True

    def _is_own(self, stored: StoredObject) -> bool:
        """Return whether the last put succeeded and only its answer was lost."""
        if self._tried is None or bytes(stored.data[:WRITE_ID_BYTES]) != self._write_id:
            return False
        self._announce(stored.etag)
        return True

    def _announce(self, etag: str) -> None:
        tried = self._tried
        assert tried is not None, "a put was made"
        self._is_done = True
        self._options.on_change(replace(tried, new_etag=etag))
