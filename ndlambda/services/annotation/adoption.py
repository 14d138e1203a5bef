"""Makes objects of labels that have none, such as those of an ingested segmentation.

A call goes through a part of the channel's labels and returns where the next one continues, so its
work is bounded. An object is stored on the condition that its id has no row: an id that meanwhile
got an object (or is being uploaded, or belonged to an object that is deleted) is left as it is.
Objects are stored with their index rows in one transaction, so a crash leaves none half-made, and a
repetition makes only what is missing.

Labels are those of the index at all resolutions and times, which is a superset of the stored ones:
a label that a concurrent call erases may get an object without voxels.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from ndlambda.batches import batched
from ndlambda.errors import InvalidArgumentError, PreconditionFailedError, WriteContentionError
from ndlambda.model.catalog import Channel
from ndlambda.model.ramon import CLASSES, RamonType
from ndlambda.services.labels.ids import LabelIds
from ndlambda.services.labels.index import SHARDS, LabelIndex
from ndlambda.services.labels.layer import check_annotation
from ndlambda.services.ramon.merge import WITHOUT_VOXELS
from ndlambda.services.ramon.rows import ObjectRows
from ndlambda.services.support.retry import HOT_ROW_ATTEMPTS, optimistic
from ndlambda.services.volume.service import VolumeService

_MAX_LABELS: Final = 1000
_MAX_QUERIES: Final = 32
_BATCH: Final = 25
"""Objects in a transaction: each has its row and three of the index."""

_CURSOR: Final = re.compile(r"([0-9a-f]):([0-9a-f]{1,16})", re.ASCII)


@dataclass(frozen=True, slots=True)
class LabelCursor:
    """A position in the labels of a channel: behind label ``after`` of a shard of the index."""

    shard: int = 0
    after: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the cursor of its text.

        Raises
        ------
        InvalidArgumentError
            It is not the text of a cursor.
        """
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise InvalidArgumentError(f"{text[:80]!r} is no `next` of an earlier answer.")
        return cls(int(match[1], 16), int(match[2], 16))

    def __str__(self) -> str:
        return f"{self.shard:x}:{self.after:x}"


@dataclass(frozen=True, slots=True)
class Adopted:
    """The result of one call.

    Attributes
    ----------
    labels
        Number of labels looked at.
    adopted
        Number of objects made.
    progress
        Estimated share of the labels that this and earlier calls looked at, 0 to 1.
    following
        Where the next call continues; None: all labels were looked at.
    """

    labels: int
    adopted: int
    progress: float
    following: LabelCursor | None


class Adoption:
    """Makes objects of labels.

    Parameters
    ----------
    index, ids
        The labels of a channel.
    rows
        The rows of objects.
    volume
        Checks write access.
    """

    def __init__(
        self, index: LabelIndex, ids: LabelIds, rows: ObjectRows, volume: VolumeService
    ) -> None:
        self._index = index
        self._ids = ids
        self._rows = rows
        self._volume = volume

    def adopt(
        self, channel: Channel, ramon_type: RamonType, cursor: LabelCursor | None = None
    ) -> Adopted:
        """Make objects of some labels that have none; idempotent.

        Parameters
        ----------
        channel
            The channel.
        ramon_type
            Type of the new objects, which have defaults otherwise.
        cursor
            ``following`` of the call before; None: from the first label.

        Raises
        ------
        ReadOnlyChannelError, InvalidStateError
            The channel is not writable now.
        InvalidArgumentError
            The channel is not an annotation channel, or objects of the type have no voxels.
        WriteContentionError
            Others kept making objects of the same labels.
        """
        check_annotation(channel)
        self._volume.check_writable(channel)
        if ramon_type in WITHOUT_VOXELS:
            word = ramon_type.name.lower()
            raise InvalidArgumentError(f"A {word} has no voxels of its own, as labels have.")
        here: LabelCursor | None = cursor or LabelCursor()
        labels = adopted = 0
        for _ in range(_MAX_QUERIES):
            if here is None or labels >= _MAX_LABELS:
                break
            found, last = self._index.labels_after(channel.uid, here.shard, here.after)
            for batch in batched(found, _BATCH):
                adopted += self._store(channel.uid, batch, ramon_type)
            labels += len(found)
            here = _following(here, last)
        return Adopted(labels, adopted, self._progress(channel, here), here)

    def _store(self, uid: str, labels: Sequence[int], ramon_type: RamonType) -> int:
        """Store objects of the labels whose ids have no row; return their number."""
        for _ in optimistic(HOT_ROW_ATTEMPTS):
            known = self._rows.find_many(uid, labels)
            new = [CLASSES[ramon_type](label) for label in labels if label not in known]
            try:
                self._rows.add_many(uid, new)
            except PreconditionFailedError:
                continue
            return len(new)
        raise WriteContentionError("Others keep making these objects; send the request again.")

    def _progress(self, channel: Channel, here: LabelCursor | None) -> float:
        if here is None:
            return 1.0
        largest = self._ids.free_ids(channel).last
        return (here.shard + min(1.0, here.after / max(largest, 1))) / SHARDS


def _following(here: LabelCursor, last: int | None) -> LabelCursor | None:
    if last is not None:
        return LabelCursor(here.shard, last)
    return LabelCursor(here.shard + 1) if here.shard + 1 < SHARDS else None
