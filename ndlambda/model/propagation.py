"""Whether a channel's coarser resolutions are built from its own."""

from enum import IntEnum


class PropagateState(IntEnum):
    """The ``propagate`` of a channel, by ndstore's numbers: rows and clients hold those."""

    NOT_PROPAGATED = 0
    UNDER_PROPAGATION = 1
    PROPAGATED = 2

    def __repr__(self) -> str:
        """Return the number, as messages to clients show it."""
        return int.__repr__(self)
