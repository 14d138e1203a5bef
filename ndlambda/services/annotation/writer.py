"""Uploads and deletes objects together with their voxels.

The order of effects makes the remains of a crash harmless, and a repetition complete:

1. All items are checked; a fault in any of them refuses the upload, and nothing has changed.
2. Ids: those chosen by the caller are excluded from the free ids (``labels.ids``), then new ones
   are reserved in one block. Unused ids are lost, never issued twice.
3. New ids whose objects have voxels are claimed (``claims``): of two uploads of one id only one
   continues. An upload that is refused while painting releases its claims.
4. Voxels are painted in the order of the items; consecutive small ones as a batch.
5. Objects: new ones are stored in the place of their claims, or existing ones are replaced. So a
   reader that finds a new object finds all of its voxels.

An interrupted upload of chosen ids leaves claims or, in step 5, some of its objects. A repetition
finds them equal to those in the body, and completes the rest. Only if nothing is left to complete
are the ids "already used". A repeated upload without ids gets new ids. It paints over the voxels of
the interrupted one; but with ``PRESERVE`` and ``EXCEPTION`` those labels, which have no objects,
stay. To make such uploads repeatable, reserve ids first.
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
from ndlambda.services.annotation.claims import Claims, claim_of, find_stored
from ndlambda.services.annotation.options import WriteMode
from ndlambda.services.annotation.paintings import Batch, Painter, plan_batches
from ndlambda.services.labels.ids import check_label
from ndlambda.services.labels.layer import check_annotation
from ndlambda.services.labels.service import LabelService
from ndlambda.services.ramon.merge import WITHOUT_VOXELS
from ndlambda.services.ramon.rows import Claim, ObjectRows
from ndlambda.services.ramon.service import Ramon
from ndlambda.services.volume.service import VolumeService
from ndlambda.stores.ports import MAX_ROW_BYTES
from ndlambda.wire.ramon.contract import RamonItem

_MAX_OBJECT_BYTES: Final = MAX_ROW_BYTES - 256
"""Of the JSON text; the rest is for the row's keys and metadata."""

_REFUSALS: Final = (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidStateError,
    PayloadTooLargeError,
    ReadOnlyChannelError,
)
"""Errors of painting that a repetition of the same request cannot overcome."""


class AnnotationWriter:
    """Uploads and deletes objects.

    Parameters
    ----------
    labels, ramon
        Voxels and objects.
    rows
        The rows of objects, including tombstones and claims.
    volume
        Checks write access and sizes, and holds the memory budget.
    clock
        Unix seconds, for the expiry of claims.
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
        """Store objects and paint their voxels; see ``AnnotationService.upload``."""
        self._check_writable(channel)
        painter = Painter(dataset, channel, mode.discipline, self._volume)
        for item in items:
            _check_item(channel, item, mode)
        planned = [painter.plan(item.data) for item in items]
        batches = plan_batches(planned, self._volume.max_voxels)
        self._labels.check_painted(sum(batch.supercuboids for batch in batches))
        ramons = [item.ramon for item in items]
        if mode.data_only or mode.update:
            return self._change(channel, ramons, batches, mode)
        claims = {
            index: claim_of(item, mode.discipline)
            for index, item in enumerate(items)
            if planned[index]
        }
        return self._create(channel, ramons, batches, claims, mode)

    def _change(
        self,
        channel: Channel,
        ramons: Sequence[Annotation],
        batches: Sequence[Batch],
        mode: WriteMode,
    ) -> list[int]:
        """Paint voxels of existing ids, and replace their objects."""
        ids = [ramon.id for ramon in ramons]
        if mode.update:
            self._ramon.get_many(channel, _distinct(ids))
        with self._held(batches):
            for batch in batches:
                batch.paint(self._labels, ids, mode.discipline)
        if mode.data_only:
            return []
        self._ramon.update_many(channel, ramons)
        return ids

    def _create(
        self,
        channel: Channel,
        ramons: Sequence[Annotation],
        batches: Sequence[Batch],
        claims: Mapping[int, Claim],
        mode: WriteMode,
    ) -> list[int]:
        """Claim ids, paint voxels and store objects; ``claims`` are by the index of the object."""
        chosen = {ramon.id: ramon for ramon in ramons if ramon.id}
        _distinct([ramon.id for ramon in ramons if ramon.id])
        own = {ramons[index].id: claim for index, claim in claims.items()}
        stored = find_stored(self._rows, channel.uid, chosen, own)
        with self._held(batches):
            numbered = self._with_ids(channel, ramons)
            ids = [ramon.id for ramon in numbered]
            new = {ids[index]: claim for index, claim in claims.items() if ids[index] not in stored}
            held = Claims(self._rows, channel.uid, new, self._clock)
            try:
                for batch in batches:
                    held.keep()
                    batch.paint(self._labels, ids, mode.discipline)
            except _REFUSALS:
                held.release()
                raise
        objects = [ramon for ramon in numbered if ramon.id not in stored]
        self._ramon.create_reserved(channel, objects, held.rows())
        return ids

    def _held(self, batches: Sequence[Batch]) -> AbstractContextManager[None]:
        """Return the context that holds memory for painting."""
        return self._volume.budget.hold(max((batch.nbytes for batch in batches), default=0))

    def reserve(self, channel: Channel, count: int) -> int:
        """Reserve consecutive ids; see ``AnnotationService.reserve``."""
        self._check_writable(channel)
        return self._labels.ids.reserve(channel, count)

    def delete(self, channel: Channel, ids: Sequence[int]) -> list[int]:
        """Delete objects with their voxels; see ``AnnotationService.delete``."""
        self._check_writable(channel)
        return self._ramon.delete(channel, ids)

    def _check_writable(self, channel: Channel) -> None:
        check_annotation(channel)
        self._volume.check_writable(channel)

    def _with_ids(self, channel: Channel, ramons: Sequence[Annotation]) -> list[Annotation]:
        """Return objects with their ids, chosen or newly reserved, which are not free any more."""
        self._labels.ids.claim_all(channel, np.array([ramon.id for ramon in ramons], np.uint64))
        missing = sum(1 for ramon in ramons if not ramon.id)
        next_id = self._labels.ids.reserve(channel, missing) if missing else 0
        numbered: list[Annotation] = []
        for ramon in ramons:
            if ramon.id:
                numbered.append(ramon)
            else:
                numbered.append(replace(ramon, id=next_id))
                next_id += 1
        return numbered


def _distinct(ids: Sequence[int]) -> Sequence[int]:
    """Refuse repeated ids; return the ids."""
    if len(set(ids)) < len(ids):
        raise InvalidArgumentError("An id occurs twice in one upload.")
    return ids


def _check_item(channel: Channel, item: RamonItem, mode: WriteMode) -> None:
    """Refuse an object that is invalid by itself."""
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
    """Refuse an object that is too large for a row; the table would, but only after painting."""
    text = json.dumps(to_document(ramon), ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > _MAX_OBJECT_BYTES:
        raise PayloadTooLargeError(
            f"Object {ramon.id} has too many or too long values to be stored.",
            id=ramon.id,
            limit=_MAX_OBJECT_BYTES,
        )
