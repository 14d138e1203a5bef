"""What objects need of the voxels below them: that those of deleted objects are erased."""

from typing import Protocol

from ndlambda.model.catalog import Channel
from ndlambda.stores.ports import Action


class VoxelEraser(Protocol):
    """Takes objects out of the voxels."""

    def begin_action(self, channel: Channel, annotation_id: int) -> Action:
        """Return what stores the job of erasing an object, for the transaction that deletes it.

        Whoever dies behind that has left a job, to which a worker is called before long; when it
        is done it calls ``Ramon.finish_deletion``.
        """
        ...

    def erase(self, channel: Channel, annotation_id: int) -> bool:
        """Erase an object at all resolutions; harmless when repeated.

        False: there is much to do, so that the job is stored and the worker called to it.
        """
        ...

    def end_action(self, channel: Channel, annotation_id: int) -> Action:
        """Return what ends the job, if any, for the transaction that notes that it is done."""
        ...
