"""How painted labels meet the labels that are there."""

from enum import StrEnum


class Discipline(StrEnum):
    """The write disciplines of annotation, by their words on the wire.

    ``UPDATE`` and ``DATAONLY`` say what becomes of an object's metadata; their voxels are painted
    as ``OVERWRITE`` does, unless the request names another discipline beside them.
    """

    OVERWRITE = "overwrite"
    PRESERVE = "preserve"
    EXCEPTION = "exception"
    UPDATE = "update"
    DATAONLY = "dataonly"
    REDUCE = "reduce"

    @property
    def for_voxels(self) -> "Discipline":
        """The discipline that decides about voxels."""
        if self in {Discipline.UPDATE, Discipline.DATAONLY}:
            return Discipline.OVERWRITE
        return self
