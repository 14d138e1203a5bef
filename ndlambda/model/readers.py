"""Readers of single JSON values: each returns the Python value or raises why it is refused."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

Reader: TypeAlias = Callable[[object], Any]
_Choice = TypeVar("_Choice", bound=StrEnum)


class Refusal(ValueError):  # noqa: N818  it says why, and never leaves ndlambda.model
    """A value is invalid for its field; the text completes "FIELD: ..."."""


@dataclass(frozen=True, slots=True, eq=False)
class DescribedReader:
    """A reader with the JSON Schema of the values that it takes, as far as a schema can say."""

    read: Reader
    schema: Mapping[str, Any]

    def __call__(self, value: object) -> Any:
        """Read a value."""
        return self.read(value)


def schema_of(reader: Reader) -> dict[str, Any]:
    """Return the JSON Schema of what a reader takes; empty, which takes all, if it has none."""
    return dict(reader.schema) if isinstance(reader, DescribedReader) else {}


def text(longest: int) -> Reader:
    """Return a reader of strings of at most ``longest`` characters."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise Refusal("must be a string")
        if len(value) > longest:
            raise Refusal(f"must not be longer than {longest} characters")
        try:
            value.encode()
        except UnicodeEncodeError:  # JSON can spell half a surrogate pair; no store accepts it
            raise Refusal("must be valid Unicode") from None
        if "\0" in value:  # HDF5 and most of its readers end a text there
            raise Refusal("must not contain the character NUL")
        return value

    return DescribedReader(read, {"type": "string", "maxLength": longest})


def integer(low: int, high: int) -> Reader:
    """Return a reader of integers ``low <= i <= high``; booleans are refused."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refusal("must be an integer")
        if not low <= value <= high:
            raise Refusal(f"must be from {low} to {high}")
        return value

    return DescribedReader(read, {"type": "integer", "minimum": low, "maximum": high})


def number(low: float, high: float) -> Reader:
    """Return a reader of finite integers or floats ``low <= v <= high``, returned unchanged."""

    def read(value: object) -> int | float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refusal("must be a number")
        if isinstance(value, float) and not math.isfinite(value):
            raise Refusal("must be finite")
        if not low <= value <= high:
            raise Refusal(f"must be from {low:g} to {high:g}")
        return value

    return read


def size(low: float, high: float) -> Reader:
    """Return a reader of numbers ``low <= v <= high``, returned as float."""
    bounded = number(low, high)
    return lambda value: float(bounded(value))


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in {0, 1}:
        return value == 1
    raise Refusal("must be 0 or 1 (or a boolean)")


flag: Reader = DescribedReader(_flag, {"enum": [True, False, 0, 1]})
"""Reads true, false, 1 or 0: ndstore has integers where its clients also send booleans."""


def choice(kind: type[_Choice]) -> Reader:
    """Return a reader of the values of an enumeration of strings."""
    known = {member.value: member for member in kind}

    def read(value: object) -> _Choice:
        if not isinstance(value, str) or value not in known:
            raise Refusal(f"must be one of {', '.join(known)}")
        return known[value]

    return DescribedReader(read, {"enum": list(known)})


def one_of(allowed: Collection[int | str]) -> Reader:
    """Return a reader of a few listed integers or strings."""
    listed = ", ".join(map(str, allowed))

    def read(value: object) -> int | str:
        if isinstance(value, bool) or not isinstance(value, int | str) or value not in allowed:
            raise Refusal(f"must be one of {listed}")
        return value

    return DescribedReader(read, {"enum": list(allowed)})


def record(parts: Mapping[str, Reader]) -> Reader:
    """Return a reader of JSON objects with exactly the named members."""

    def read(value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping) or set(value) != set(parts):
            raise Refusal(f"must be an object with exactly {', '.join(parts)}")
        values: dict[str, Any] = {}
        for name, part in parts.items():
            try:
                values[name] = part(value[name])
            except Refusal as refusal:
                raise Refusal(f"{name} {refusal}") from None
        return values

    return read


def unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of a JSON object, for ``object_pairs_hook`` of :func:`json.loads`.

    Raises
    ------
    ValueError
        A field is repeated.
    """
    fields = dict(pairs)
    if len(fields) != len(pairs):
        message = "a field is repeated"
        raise ValueError(message)
    return fields
