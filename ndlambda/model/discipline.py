"""How painted labels combine with stored ones."""

from enum import StrEnum


class Discipline(StrEnum):
    """The write disciplines of annotation, by their names on the wire.

    ``UPDATE`` and ``DATAONLY`` concern an object's metadata; their voxels are painted like
    ``OVERWRITE`` unless the request also names another discipline.
    """

    OVERWRITE = "overwrite"
    PRESERVE = "preserve"
    EXCEPTION = "exception"
    UPDATE = "update"
    DATAONLY = "dataonly"
    REDUCE = "reduce"

    @property
    def for_voxels(self) -> "Discipline":
        """The discipline that applies to voxels."""
        if self in {Discipline.UPDATE, Discipline.DATAONLY}:
            return Discipline.OVERWRITE
        return self
