"""Exceptions that end the work on a chunk early; none of them leaves the builder."""

from ingest_queue.jobs.chunk_state import Fault, Part


class Superseded(Exception):  # noqa: N818 - no error: another worker, or a later message, continues
    """Nothing more is to be done about a chunk now."""


class StateChanged(Exception):  # noqa: N818 - as Superseded
    """A chunk changed while its parts were read."""


class PartMissing(Exception):  # noqa: N818 - as Superseded
    """A received part does not exist any more."""

    def __init__(self, part: Part) -> None:
        super().__init__(part.key)
        self.part = part


class PartReplaced(Exception):  # noqa: N818 - as Superseded
    """A part is not the recorded one.

    Attributes
    ----------
    part
        The current object.
    """

    def __init__(self, part: Part) -> None:
        super().__init__(part.key)
        self.part = part


class PartRejected(Exception):  # noqa: N818 - as Superseded
    """Parts are unusable, and the job's policy is to fail.

    Attributes
    ----------
    reason
        What is wrong with all of them.
    faults
        What is wrong with each.
    """

    def __init__(self, reason: str, faults: tuple[Fault, ...]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.faults = faults
