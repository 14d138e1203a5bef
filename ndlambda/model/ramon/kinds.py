"""The kinds of values of RAMON fields: how each is read, parsed and shown."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from ndlambda.model.readers import Reader, Refusal, integer, number, text

LARGEST_ID: Final = 2**64 - 1
"""Largest label of the widest channel."""
LONGEST_KEY: Final = 255
LONGEST_VALUE: Final = 20_000
"""Most characters of a key and of a value, from ndstore's columns."""

_UINT32: Final = 2**32 - 1
_LARGEST_REAL: Final = 1.7976931348623157e308
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_REAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)

_read_real = number(-_LARGEST_REAL, _LARGEST_REAL)
_read_coordinate = integer(0, _UINT32)
_read_id = integer(0, LARGEST_ID)
_read_value = text(LONGEST_VALUE)


class Form(StrEnum):
    """How a value is represented."""

    INTEGER = "integer"
    REAL = "real"
    TEXT = "text"
    IDS = "ids"
    POSITION = "position"
    """Three unsigned integers, or none; ndstore has JSON text inside its JSON."""
    LOCATION = "location"
    """Three floats, or none."""


@dataclass(frozen=True, slots=True)
class Kind:
    """The values that a field accepts.

    Attributes
    ----------
    form
        How they are represented.
    read
        Returns the value of JSON or HDF5 data, or refuses it: int, float, str or a tuple.
    refers
        Whether the value names other objects, so that a merge must rewrite it.
    """

    form: Form
    read: Reader
    refers: bool = False

    @property
    def is_list(self) -> bool:
        """Whether values are tuples."""
        return self.form in {Form.IDS, Form.POSITION, Form.LOCATION}

    @property
    def is_triple(self) -> bool:
        """Whether values are positions: three numbers or none."""
        return self.form in {Form.POSITION, Form.LOCATION}

    def parse(self, word: str) -> Any:
        """Return the value that a path segment spells.

        Raises
        ------
        Refusal
            It spells no valid value.
        """
        if self.form is Form.TEXT:
            return self.read(word)
        if not self.is_list:
            return self.read(_parse_number(word, whole=self.form is Form.INTEGER))
        whole = self.form is not Form.LOCATION
        parts = [part.strip() for part in word.split(",")] if word.strip() else []
        return self.read([_parse_number(part, whole=whole) for part in parts])

    def show(self, value: Any) -> str:
        """Return a value as text, lists joined with commas, as getField answers it."""
        return ",".join(map(str, value)) if self.is_list else str(value)


def _parse_number(word: str, *, whole: bool) -> int | float:
    if whole:
        if not _INTEGER.fullmatch(word):
            raise Refusal("must be an integer")
        return int(word)
    if not _REAL.fullmatch(word):
        raise Refusal("must be a number")
    return float(word)


def _real(value: object) -> float:
    return float(_read_real(value))


def _listed(value: object) -> list[object]:
    """Return the elements; a list of one may be given as its element, as ndstore stores it."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return [value]
    return list(value)


def _ids(value: object) -> tuple[int, ...]:
    return tuple(_read_id(element) for element in _listed(value))


def _triple(element: Reader) -> Reader:
    def read(value: object) -> tuple[Any, ...]:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise Refusal("must be a list of three numbers") from None
        if not isinstance(value, list | tuple) or len(value) not in {0, 3}:
            raise Refusal("must be a list of three numbers")
        return tuple(element(part) for part in value)

    return read


NUMBER: Final = Kind(Form.INTEGER, integer(0, _UINT32))
LONG: Final = Kind(Form.INTEGER, integer(0, LARGEST_ID))
REAL: Final = Kind(Form.REAL, _real)
TEXT: Final = Kind(Form.TEXT, _read_value)
OBJECT: Final = Kind(Form.INTEGER, _read_id, refers=True)
PARENT: Final = Kind(Form.INTEGER, integer(-1, LARGEST_ID), refers=True)
"""An object, or -1 for the root, as in SWC."""
OBJECTS: Final = Kind(Form.IDS, _ids, refers=True)
POSITION: Final = Kind(Form.POSITION, _triple(_read_coordinate))
LOCATION: Final = Kind(Form.LOCATION, _triple(_real))
