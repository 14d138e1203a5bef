"""Uploading and deleting objects together with their voxels.

The order of effects makes what a crash leaves behind harmless, and a repetition complete:

1. All items are looked at; a fault in any of them refuses the upload, and nothing has changed.
2. Ids: the counter is raised over those that the caller chose, then new ones are reserved, in one
   block. Ids that nobody comes to use are lost, never given twice.
3. Voxels, in the order of the items; small ones that follow one another at once.
4. Objects: new ones are stored, or those there are replaced. So whoever finds a new object finds
   all of its voxels.

An upload of chosen ids that broke off during step 4 has stored some of its objects. Repeating it
finds these as they are in the body, and completes the rest. Only when nothing is left to complete
are they "used already". An upload of new ids is given others when repeated. It paints over what the
broken one painted; but with ``PRESERVE`` and ``EXCEPTION`` those labels, of which there are no
objects, are in its way. Whoever wants to repeat such uploads reserves ids first.

Two uploads of one chosen id at the same time may both paint, and the slower is refused: then its
voxels stay, and belong to the object of the faster. Nobody who reserves ids meets this.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ndlambda.errors import AlreadyExistsError, InvalidArgumentError, PayloadTooLargeError
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.ramon import Annotation, RamonType, check, to_document
from ndlambda.services.annotation_batches import batches
from ndlambda.services.annotation_options import WriteMode
from ndlambda.services.annotation_paintings import Painter
from ndlambda.services.label_ids import check_label
from ndlambda.services.label_volume import check_annotation
from ndlambda.services.labels import LabelService
from ndlambda.services.ramon import Ramon
from ndlambda.services.ramon_rows import ObjectRows, State, state_of
from ndlambda.services.volume import VolumeService
from ndlambda.stores.ports import MAX_ROW_BYTES
from ndlambda.wire.ramon.contract import RamonItem

_WITHOUT_VOXELS: Final = frozenset({RamonType.SEED, RamonType.NEURON})
_READ_AT_ONCE: Final = 100
_LONGEST_OBJECT: Final = MAX_ROW_BYTES - 256
"""Bytes of its JSON text; the rest is for keys and marks of the row."""


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
    """

    def __init__(
        self,
        labels: LabelService,
        ramon: Ramon,
        rows: ObjectRows,
        volume: VolumeService,
    ) -> None:
        self._labels = labels
        self._ramon = ramon
        self._rows = rows
        self._volume = volume

    def upload(
        self, dataset: Dataset, channel: Channel, items: Sequence[RamonItem], mode: WriteMode
    ) -> list[int]:
        """Store objects and paint their voxels; see ``Annotations.upload``."""
        self._check_writable(channel)
        painter = Painter(dataset, channel, mode.discipline, self._volume)
        for item in items:
            _check_item(channel, item, mode)
        paint = batches([painter.plan(item.data) for item in items], self._volume.most_voxels)
        stored = self._check_known(channel, [item.ramon for item in items], mode)
        with self._volume.budget.hold(max((batch.nbytes for batch in paint), default=0)):
            ramons = self._with_ids(channel, [item.ramon for item in items], mode)
            for batch in paint:
                batch.paint(self._labels, [ramon.id for ramon in ramons], mode.discipline)
        if mode.data_only:
            return []
        if mode.update:
            for ramon in ramons:
                self._ramon.update(channel, ramon)
        else:
            new = [ramon for ramon in ramons if ramon.id not in stored]
            self._ramon.create_reserved(channel, new)
        return [ramon.id for ramon in ramons]

    def reserve(self, channel: Channel, count: int) -> int:
        """Give the first of consecutive ids; see ``Annotations.reserve``."""
        self._check_writable(channel)
        return self._labels.ids.reserve(channel, count)

    def delete(self, channel: Channel, ids: Sequence[int]) -> list[int]:
        """Delete objects with their voxels; see ``Annotations.delete``."""
        self._check_writable(channel)
        return self._ramon.delete(channel, ids)

    def _check_writable(self, channel: Channel) -> None:
        check_annotation(channel)
        self._volume.check_writable(channel)

    def _check_known(
        self, channel: Channel, ramons: Sequence[Annotation], mode: WriteMode
    ) -> frozenset[int]:
        """Make sure that ids are known or new as they should be; give those stored already."""
        if mode.data_only:
            return frozenset()
        chosen = {ramon.id: ramon for ramon in ramons if ramon.id}
        if len(chosen) < sum(1 for ramon in ramons if ramon.id):
            raise InvalidArgumentError("An id occurs twice in one upload.")
        if mode.update:
            self._ramon.get_many(channel, list(chosen))
            return frozenset()
        stored = self._find(channel.uid, list(chosen))
        for number, state in stored.items():
            if len(stored) == len(chosen) or state != chosen[number]:
                raise AlreadyExistsError(f"The id {number} is used already.", id=number)
        return frozenset(stored)

    def _find(self, uid: str, ids: Sequence[int]) -> dict[int, State]:
        """Give what ids stand for; those never stored are not in the answer."""
        found: dict[int, State] = {}
        for start in range(0, len(ids), _READ_AT_ONCE):
            found |= self._rows.find_many(uid, ids[start : start + _READ_AT_ONCE])
        for number, state in found.items():
            if state is None:  # its creation broke off between two transactions
                found[number] = state_of(self._rows.find_settled(uid, number))
        return found

    def _with_ids(
        self, channel: Channel, ramons: Sequence[Annotation], mode: WriteMode
    ) -> list[Annotation]:
        """Give objects with their ids, which from here on nobody else is given."""
        chosen = max((ramon.id for ramon in ramons), default=0)
        if chosen and not (mode.data_only or mode.update):
            self._labels.ids.claim(channel, chosen)
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


def _check_item(channel: Channel, item: RamonItem, mode: WriteMode) -> None:
    """Refuse an object that cannot be uploaded whatever else is there."""
    ramon = item.ramon
    if item.ignored:
        raise InvalidArgumentError(
            f"Object {ramon.id} has {', '.join(item.ignored)} without XYZOFFSET.", id=ramon.id
        )
    if item.data is not None and ramon.ramon_type in _WITHOUT_VOXELS:
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
