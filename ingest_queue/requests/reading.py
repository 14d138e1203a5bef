"""Reading JSON objects whose keys are known: all that is wrong is said at once."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from ndlambda.errors import InvalidArgumentError, ValidationError
from ndlambda.model.readers import Reader, Refusal

_T = TypeVar("_T")

REQUIRED: Final = object()
"""Stands where a key has no default."""

Keys = Mapping[str, tuple[Reader, Any]]
"""How the value of each key is read, and what it is where the key is left out."""


class Problems(dict[str, str]):
    """What is wrong, by the path of the field."""

    def check(self) -> None:
        """Raise ``ValidationError`` with all of them, if there are any."""
        if self:
            raise ValidationError(self)

    def collect(self, where: str, read: Callable[[], _T]) -> _T | None:
        """Return what ``read`` gives; what it refuses is noted, under the names of its fields."""
        try:
            return read()
        except ValidationError as error:
            for each in error.details["errors"]:
                self.setdefault(f"{where}.{each['field']}", each["detail"])
        except InvalidArgumentError as error:
            self.setdefault(where, error.message)
        return None


def read_object(value: object, keys: Keys, where: str, problems: Problems) -> dict[str, Any]:
    """Return the values of an object; faults are noted in ``problems``, and their keys left out.

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


def list_of(read: Reader, length: int) -> Reader:
    """Return a reader of lists of so many values of one kind, given as a tuple."""

    def read_list(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != length:
            raise Refusal(f"must be a list of {length}")
        try:
            return tuple(read(item) for item in value)
        except Refusal as refusal:
            raise Refusal(f"has an item that {refusal}") from None

    return read_list
