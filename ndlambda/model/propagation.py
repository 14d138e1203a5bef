"""Whether a channel's coarser resolutions are built."""

from enum import IntEnum


class PropagateState(IntEnum):
    """A channel's ``propagate`` value in ndstore's numbers, as in rows and on the wire."""

    NOT_PROPAGATED = 0
    UNDER_PROPAGATION = 1
    PROPAGATED = 2

    def __repr__(self) -> str:
        """Return the number, as messages to clients contain it."""
        return int.__repr__(self)
