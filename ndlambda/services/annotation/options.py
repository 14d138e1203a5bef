"""What a call about objects of an annotation channel asks for."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from ndlambda.errors import InvalidArgumentError, UnknownNameError
from ndlambda.model.discipline import Discipline
from ndlambda.services.volume.region import Region

_WORDS = tuple(word.value for word in Discipline)


@dataclass(frozen=True, slots=True)
class WriteMode:
    """How uploaded objects meet what is there.

    Attributes
    ----------
    discipline
        Of the voxels: overwrite, preserve, exception or reduce.
    update
        The objects exist and are replaced wholly; otherwise they are new.
    data_only
        Objects stay as they are, and need not be there: only voxels change.
    """

    discipline: Discipline = Discipline.OVERWRITE
    update: bool = False
    data_only: bool = False

    @classmethod
    def from_words(cls, words: Iterable[str]) -> "WriteMode":
        """Read option words of a path, in any order.

        Raises
        ------
        UnknownNameError
            A word is none of the disciplines.
        InvalidArgumentError
            Two words contradict one another (update and dataonly; two disciplines of voxels).
        """
        given = set()
        for word in words:
            if word not in _WORDS:
                raise UnknownNameError("option", word, _WORDS)
            given.add(Discipline(word))
        how = given - {Discipline.UPDATE, Discipline.DATAONLY}
        update, data_only = Discipline.UPDATE in given, Discipline.DATAONLY in given
        if len(how) > 1 or (update and (data_only or Discipline.REDUCE in how)):
            raise InvalidArgumentError(
                f"The options {', '.join(sorted(given))} contradict one another."
            )
        discipline = how.pop() if how else Discipline.OVERWRITE
        return cls(discipline, update, data_only or discipline is Discipline.REDUCE)


@dataclass(frozen=True, slots=True)
class NoData:
    """Only the objects."""


@dataclass(frozen=True, slots=True)
class Voxels:
    """Each object's voxels as a list, at one resolution."""

    resolution: int


@dataclass(frozen=True, slots=True)
class TightCutout:
    """Each object as one block of whole cuboids around it, at one resolution."""

    resolution: int


@dataclass(frozen=True, slots=True)
class RegionCutout:
    """Each object as a block: the region asked for, other labels taken out."""

    region: Region


@dataclass(frozen=True, slots=True)
class TightBox:
    """Each object's exact bounding box at one resolution."""

    resolution: int


@dataclass(frozen=True, slots=True)
class Cuboids:
    """The cuboids that hold each object, other labels taken out, at one resolution."""

    resolution: int


Wanted: TypeAlias = NoData | Voxels | TightCutout | RegionCutout | TightBox | Cuboids
"""What of an object is read beside its fields."""
