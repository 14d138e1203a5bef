"""Uploading and deleting objects together with their voxels.

The order of effects makes what a crash leaves behind harmless, and a repetition complete:

1. All items are looked at; a fault in any of them refuses the upload, and nothing has changed.
2. Ids: those that the caller chose are never given to others from here on (``label_ids``), then
   new ones are reserved, in one block. Ids that nobody comes to use are lost, never given twice.
3. New ids whose objects have voxels are claimed (``annotation_claims``): of two uploads of one id
   only one goes on from here. One that is refused while painting takes its claims back.
4. Voxels, in the order of the items; small ones that follow one another at once.
5. Objects: new ones are stored in the places of their claims, or those there are replaced. So
   whoever finds a new object finds all of its voxels.

An upload of chosen ids that broke off has left claims or, in step 5, some of its objects. Repeating
it finds these as they are in the body, and completes the rest. Only when nothing is left to
complete are they "used already". An upload of new ids is given others when repeated. It paints over
what the broken one painted; but with ``PRESERVE`` and ``EXCEPTION`` those labels, of which there
are no objects, are in its way. Whoever wants to repeat such uploads reserves ids first.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final

import numpy as np

from ndlambda.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidStateError,
    PayloadTooLargeError,
    ReadOnlyChannelError,
)
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.ramon import Annotation, check, to_document
from ndlambda.services.annotation.batches import Batch, batches
from ndlambda.services.annotation.claims import Claims, claim_of, find_stored
from ndlambda.services.annotation.options import WriteMode
from ndlambda.services.annotation.paintings import Painter
from ndlambda.services.labels.ids import check_label
from ndlambda.services.labels.layer import check_annotation
from ndlambda.services.labels.service import LabelService
from ndlambda.services.ramon.merge import WITHOUT_VOXELS
from ndlambda.services.ramon.rows import Claim, ObjectRows
from ndlambda.services.ramon.service import Ramon
from ndlambda.services.volume.service import VolumeService
from ndlambda.stores.ports import MAX_ROW_BYTES
from ndlambda.wire.ramon.contract import RamonItem

_LONGEST_OBJECT: Final = MAX_ROW_BYTES - 256
"""Bytes of its JSON text; the rest is for keys and marks of the row."""

_REFUSALS: Final = (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidStateError,
    PayloadTooLargeError,
    ReadOnlyChannelError,
)
"""Of painting: what does not go away by sending the same again."""


class AnnotationWriter:
    """Uploads and deletions.

    Parameters
    ----------
    labels, ramon
        Voxels and objects.
    rows
        Tells which ids were ever stored, those of deleted objects among them.
    volume
        Knows which channels and boxes may be written, and how much memory there is.
    clock
        Unix seconds, by which claims vanish.
    """

    def __init__(
        self,
        labels: LabelService,
        ramon: Ramon,
        rows: ObjectRows,
        volume: VolumeService,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._labels = labels
        self._ramon = ramon
        self._rows = rows
        self._volume = volume
        self._clock = clock

    def upload(
        self, dataset: Dataset, channel: Channel, items: Sequence[RamonItem], mode: WriteMode
    ) -> list[int]:
        """Store objects and paint their voxels; see ``Annotations.upload``."""
        self._check_writable(channel)
        painter = Painter(dataset, channel, mode.discipline, self._volume)
        for item in items:
            _check_item(channel, item, mode)
        planned = [painter.plan(item.data) for item in items]
        paint = batches(planned, self._volume.most_voxels)
        self._labels.check_painted(sum(batch.supercuboids for batch in paint))
        ramons = [item.ramon for item in items]
        if mode.data_only or mode.update:
            return self._change(channel, ramons, paint, mode)
        claims = {
            index: claim_of(item, mode.discipline)
            for index, item in enumerate(items)
            if planned[index]
        }
        return self._create(channel, ramons, paint, claims, mode)

    def _change(
        self,
        channel: Channel,
        ramons: Sequence[Annotation],
        paint: Sequence[Batch],
        mode: WriteMode,
    ) -> list[int]:
        """Paint voxels of ids that are known, and put new objects in the places of the old."""
        ids = [ramon.id for ramon in ramons]
        if mode.update:
            self._ramon.get_many(channel, _distinct(ids))
        with self._held(paint):
            for batch in paint:
                batch.paint(self._labels, ids, mode.discipline)
        if mode.data_only:
            return []
        for ramon in ramons:
            self._ramon.update(channel, ramon)
        return ids

    def _create(
        self,
        channel: Channel,
        ramons: Sequence[Annotation],
        paint: Sequence[Batch],
        claims: Mapping[int, Claim],
        mode: WriteMode,
    ) -> list[int]:
        """Claim ids, paint voxels and store objects; claims come by the index of the object."""
        chosen = {ramon.id: ramon for ramon in ramons if ramon.id}
        _distinct([ramon.id for ramon in ramons if ramon.id])
        own = {ramons[index].id: claim for index, claim in claims.items()}
        stored = find_stored(self._rows, channel.uid, chosen, own)
        with self._held(paint):
            given = self._with_ids(channel, ramons)
            ids = [ramon.id for ramon in given]
            new = {ids[index]: claim for index, claim in claims.items() if ids[index] not in stored}
            held = Claims(self._rows, channel.uid, new, self._clock)
            try:
                for batch in paint:
                    held.keep()
                    batch.paint(self._labels, ids, mode.discipline)
            except _REFUSALS:
                held.release()
                raise
        objects = [ramon for ramon in given if ramon.id not in stored]
        self._ramon.create_reserved(channel, objects, held.rows())
        return ids

    def _held(self, paint: Sequence[Batch]) -> AbstractContextManager[None]:
        """Return the context in which there is memory for painting."""
        return self._volume.budget.hold(max((batch.nbytes for batch in paint), default=0))

    def reserve(self, channel: Channel, count: int) -> int:
        """Return the first of consecutive ids; see ``Annotations.reserve``."""
        self._check_writable(channel)
        return self._labels.ids.reserve(channel, count)

    def delete(self, channel: Channel, ids: Sequence[int]) -> list[int]:
        """Delete objects with their voxels; see ``Annotations.delete``."""
        self._check_writable(channel)
        return self._ramon.delete(channel, ids)

    def _check_writable(self, channel: Channel) -> None:
        check_annotation(channel)
        self._volume.check_writable(channel)

    def _with_ids(self, channel: Channel, ramons: Sequence[Annotation]) -> list[Annotation]:
        """Return objects with their ids, which from here on nobody else is given."""
        self._labels.ids.claim_all(channel, np.array([ramon.id for ramon in ramons], np.uint64))
        nameless = sum(1 for ramon in ramons if not ramon.id)
        following = self._labels.ids.reserve(channel, nameless) if nameless else 0
        given: list[Annotation] = []
        for ramon in ramons:
            if ramon.id:
                given.append(ramon)
            else:
                given.append(replace(ramon, id=following))
                following += 1
        return given


def _distinct(ids: Sequence[int]) -> Sequence[int]:
    """Make sure that every id is that of one object."""
    if len(set(ids)) < len(ids):
        raise InvalidArgumentError("An id occurs twice in one upload.")
    return ids


def _check_item(channel: Channel, item: RamonItem, mode: WriteMode) -> None:
    """Refuse an object that cannot be uploaded whatever else is there."""
    ramon = item.ramon
    if item.ignored:
        raise InvalidArgumentError(
            f"Object {ramon.id} has {', '.join(item.ignored)} without XYZOFFSET.", id=ramon.id
        )
    if item.data is not None and ramon.ramon_type in WITHOUT_VOXELS:
        raise InvalidArgumentError(
            f"Object {ramon.id} is a {ramon.ramon_type.name.lower()} and has no voxels of its own.",
            id=ramon.id,
        )
    if ramon.id or mode.update or mode.data_only:
        check_label(channel, ramon.id)
    if not mode.data_only:
        _check_size(check(ramon))


def _check_size(ramon: Annotation) -> None:
    """Refuse an object that no row holds; the table would do so behind the voxels."""
    text = json.dumps(to_document(ramon), ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > _LONGEST_OBJECT:
        raise PayloadTooLargeError(
            f"Object {ramon.id} has more or longer values than are kept of one.",
            id=ramon.id,
            limit=_LONGEST_OBJECT,
        )
