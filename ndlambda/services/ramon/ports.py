"""The port through which deleted objects have their voxels erased."""

from collections.abc import Collection, Sequence
from typing import Protocol

from ndlambda.model.catalog import Channel
from ndlambda.stores.ports import Action


class VoxelEraser(Protocol):
    """Erases objects from the voxels."""

    def begin_actions(self, channel: Channel, groups: Sequence[Sequence[int]]) -> Sequence[Action]:
        """Return an action for each group of ids, for the transaction that deletes the group.

        It stores the erasing job. If the process dies after that, a worker is enqueued for it.
        """
        ...

    def erase(
        self,
        channel: Channel,
        groups: Sequence[Sequence[int]],
        others: Sequence[int],
        merged: Collection[int],
    ) -> list[int]:
        """Erase objects at all resolutions, or let jobs erase them; idempotent.

        Parameters
        ----------
        channel
            The channel.
        groups
            The ids of each of ``begin_actions``, whose job ends with this, or is enqueued.
        others
            Ids without such a job.
        merged
            Those of the others that were merged into other objects.

        Returns
        -------
        list of int
            Ids that are not erased yet.
        """
        ...
