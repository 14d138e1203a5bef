"""How the work on a chunk may end before it is stored; none of these leaves the builder."""

from ingest_queue.jobs.chunk_state import Fault, Part


class Superseded(Exception):  # noqa: N818 - no error: somebody else, or somebody later, goes on
    """Nothing more is to be done about a chunk now."""


class StateChanged(Exception):  # noqa: N818 - as Stop
    """A chunk changed while its parts were read."""


class PartMissing(Exception):  # noqa: N818 - as Stop
    """A part that was seen is not there any more.

    Attributes
    ----------
    part
        Which.
    """

    def __init__(self, part: Part) -> None:
        super().__init__(part.key)
        self.part = part


class PartReplaced(Exception):  # noqa: N818 - as Stop
    """A part is not the one that was entered.

    Attributes
    ----------
    part
        As it is now.
    """

    def __init__(self, part: Part) -> None:
        super().__init__(part.key)
        self.part = part


class PartRejected(Exception):  # noqa: N818 - as Stop
    """A part is no use, and the job's policy is to fail.

    Attributes
    ----------
    fault
        What is wrong with it.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.error)
        self.fault = fault
