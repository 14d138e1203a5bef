"""Options of reading and writing annotation objects."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from ndlambda.errors import InvalidArgumentError, UnknownNameError
from ndlambda.model.discipline import Discipline
from ndlambda.services.volume.region import Region

_WORDS = tuple(word.value for word in Discipline)


@dataclass(frozen=True, slots=True)
class WriteMode:
    """How uploaded objects combine with stored ones.

    Attributes
    ----------
    discipline
        Of the voxels: overwrite, preserve, exception or reduce.
    update
        The objects exist and are replaced as a whole; otherwise they are new.
    data_only
        Only voxels change; objects stay, and need not exist.
    """

    discipline: Discipline = Discipline.OVERWRITE
    update: bool = False
    data_only: bool = False

    @classmethod
    def from_words(cls, words: Iterable[str]) -> "WriteMode":
        """Parse the option words of a path, in any order.

        Raises
        ------
        UnknownNameError
            A word is not a discipline.
        InvalidArgumentError
            Two words contradict one another (update and dataonly; two disciplines of voxels).
        """
        given = set()
        for word in words:
            if word not in _WORDS:
                raise UnknownNameError("option", word, _WORDS)
            if word in given:
                raise InvalidArgumentError(f"The option {word} is given twice.")
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
    """Each object as a block: the region, with other labels removed."""

    region: Region


@dataclass(frozen=True, slots=True)
class TightBox:
    """Each object's exact bounding box at one resolution."""

    resolution: int


@dataclass(frozen=True, slots=True)
class Cuboids:
    """The cuboids that hold each object, with other labels removed, at one resolution."""

    resolution: int


Wanted: TypeAlias = NoData | Voxels | TightCutout | RegionCutout | TightBox | Cuboids
"""The data of an object that is read beside its fields."""
