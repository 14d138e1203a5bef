"""RAMON objects as flat mappings: ndstore's keys, as in its JSON and its queries."""

import json
from collections.abc import Mapping
from typing import Any, Final

from ndlambda.errors import MalformedBodyError, ValidationError
from ndlambda.model.ramon.fields import ID_KEY, TYPE_KEY, build, fields_of
from ndlambda.model.ramon.kinds import Form
from ndlambda.model.ramon.objects import Annotation, RamonType

OLD_KEYS: Final = ("type", "metadata")
"""Keys of an object in ndstore's older JSON, which may be sent beside the flat ones."""


def to_flat(ramon: Annotation) -> dict[str, Any]:
    """Return an object under ndstore's keys: id, type, fields, then key-value pairs.

    Empty lists are omitted, and positions are JSON text inside the JSON, as in ndstore.
    """
    flat: dict[str, Any] = {ID_KEY: ramon.id, TYPE_KEY: int(ramon.ramon_type)}
    for declared in fields_of(ramon.ramon_type).values():
        value = getattr(ramon, declared.name)
        if declared.kind.is_triple:
            flat[declared.key] = json.dumps(list(value))
        elif declared.kind.form is not Form.IDS:
            flat[declared.key] = value
        elif value:
            flat[declared.key] = list(value)
    return flat | dict(ramon.kvpairs)


def from_flat(flat: object) -> Annotation:
    """Read an object from ndstore's keys; unknown keys are key-value pairs.

    ``type`` and ``metadata`` of the older form, which responses contain, are ignored.

    Raises
    ------
    MalformedBodyError
        It is not a mapping.
    ValidationError
        The type is missing or unknown, or as :func:`ndlambda.model.ramon.build`.
    """
    if not isinstance(flat, Mapping):
        raise MalformedBodyError("A RAMON object must be a JSON object.")
    ramon_type = read_type(flat.get(TYPE_KEY), TYPE_KEY)
    ignored = {ID_KEY, TYPE_KEY, *(OLD_KEYS if isinstance(flat.get("metadata"), Mapping) else ())}
    by_key = {declared.key: name for name, declared in fields_of(ramon_type).items()}
    values: dict[str, object] = {}
    pairs: dict[str, object] = {}
    for key, value in flat.items():
        if key in by_key:
            values[by_key[key]] = value
        elif key not in ignored:
            pairs[key] = value
    return build(ramon_type, flat.get(ID_KEY, 0), values, pairs)


def read_type(number: object, name: str) -> RamonType:
    """Return the type with a number.

    Raises
    ------
    ValidationError
        There is no such type, or it is not an integer.
    """
    if isinstance(number, int) and not isinstance(number, bool) and number in set(RamonType):
        return RamonType(number)
    raise ValidationError({name: f"must be an integer from 1 to {max(RamonType)}"})
