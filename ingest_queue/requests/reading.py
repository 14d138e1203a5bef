"""Reads JSON objects whose keys are known, and reports every fault at once."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from ndlambda.errors import InvalidArgumentError, ValidationError
from ndlambda.model.readers import DescribedReader, Reader, Refusal, schema_of

_T = TypeVar("_T")

REQUIRED: Final = object()
"""In place of a default: the key must be given."""

Keys = Mapping[str, tuple[Reader, Any]]
"""The reader of each key's value, and the value of a key that is left out."""

LARGEST: Final = 2**62
"""Largest coordinate that a request may name."""

AXES: Final = "xyzt"


class Problems(dict[str, str]):
    """Faults by the path of their field."""

    def check(self) -> None:
        """Raise ``ValidationError`` with all of them, if there are any."""
        if self:
            raise ValidationError(self)

    def collect(self, where: str, read: Callable[[], _T]) -> _T | None:
        """Return what ``read`` returns; record its refusals by the paths of their fields."""
        try:
            return read()
        except ValidationError as error:
            for each in error.details["errors"]:
                self.setdefault(f"{where}.{each['field']}", each["detail"])
        except InvalidArgumentError as error:
            self.setdefault(where, error.message)
        return None


def read_object(value: object, keys: Keys, where: str, problems: Problems) -> dict[str, Any]:
    """Return the values of an object; keys with faults are left out and recorded in ``problems``.

    Parameters
    ----------
    where
        Path of the object, empty for the whole document.
    """
    prefix = f"{where}." if where else ""
    if not isinstance(value, Mapping):
        problems[where or "body"] = "must be an object"
        return {}
    values = {name: default for name, (_, default) in keys.items() if default is not REQUIRED}
    for name in value.keys() - keys.keys():
        problems[f"{prefix}{str(name)[:80]}"] = f"is not one of {', '.join(keys)}"
    for name, (read, default) in keys.items():
        if name not in value:
            if default is REQUIRED:
                problems[f"{prefix}{name}"] = "is missing"
            continue
        try:
            values[name] = read(value[name])
        except Refusal as refusal:
            problems[f"{prefix}{name}"] = str(refusal)
            values.pop(name, None)
    return values


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Refusal("must be an object")
    return value


any_object: Final[Reader] = DescribedReader(_object, {"type": "object"})
"""Reads an object whose keys are read later, or not at all."""


def by_axis(read: Reader) -> Reader:
    """Return a reader of objects with values of one kind for some of the axes x, y, z and t."""

    def read_axes(value: object) -> dict[str, Any]:
        values = {}
        for axis, each in _object(value).items():
            if axis not in {*AXES}:
                raise Refusal("has the axes x, y, z and t")
            try:
                values[axis] = read(each)
            except Refusal as refusal:
                raise Refusal(f"{axis} {refusal}") from None
        return values

    properties = {axis: schema_of(read) for axis in AXES}
    return DescribedReader(
        read_axes, {"type": "object", "properties": properties, "additionalProperties": False}
    )


def list_of(read: Reader, length: int) -> Reader:
    """Return a reader of lists of ``length`` values of one kind, as tuples."""

    def read_list(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != length:
            raise Refusal(f"must be a list of {length}")
        try:
            return tuple(read(item) for item in value)
        except Refusal as refusal:
            raise Refusal(f"has an item that {refusal}") from None

    return read_list
