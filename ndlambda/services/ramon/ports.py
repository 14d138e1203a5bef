"""The port through which deleted objects have their voxels erased."""

from typing import Protocol

from ndlambda.model.catalog import Channel
from ndlambda.stores.ports import Action


class VoxelEraser(Protocol):
    """Erases objects from the voxels."""

    def begin_action(self, channel: Channel, annotation_id: int) -> Action:
        """Return the action that stores an erasing job, for the transaction that deletes an object.

        If the process dies after that, a worker is enqueued for the job, and calls
        ``Ramon.finish_deletion`` when it is done.
        """
        ...

    def erase(self, channel: Channel, annotation_id: int) -> bool:
        """Erase an object at all resolutions; idempotent.

        Return False if the object is large; the job is then stored and enqueued.
        """
        ...

    def end_action(self, channel: Channel, annotation_id: int) -> Action:
        """Return the action that ends the job, for the transaction that records its completion."""
        ...
