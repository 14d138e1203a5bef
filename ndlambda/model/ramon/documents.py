"""RAMON objects in their stored form: only the values that differ from the defaults."""

from collections.abc import Mapping
from typing import Any

from ndlambda.model.ramon.fields import fields_of
from ndlambda.model.ramon.objects import CLASSES, Annotation, RamonType


def to_document(ramon: Annotation) -> dict[str, Any]:
    """Return the stored form of an object, without its id."""
    values: dict[str, Any] = {}
    for name, declared in fields_of(ramon.ramon_type).items():
        value = getattr(ramon, name)
        if value != declared.default:
            values[name] = list(value) if declared.kind.is_list else value
    document: dict[str, Any] = {"type": int(ramon.ramon_type), "fields": values}
    return document | ({"pairs": dict(ramon.kvpairs)} if ramon.kvpairs else {})


def from_document(annotation_id: int, document: Mapping[str, Any]) -> Annotation:
    """Return the object of a trusted ``to_document``."""
    ramon_type = RamonType(document["type"])
    known = fields_of(ramon_type)
    values: dict[str, Any] = {
        name: tuple(value) if known[name].kind.is_list else value
        for name, value in document["fields"].items()
    }
    values["kvpairs"] = dict(document.get("pairs", {}))
    return CLASSES[ramon_type](annotation_id, **values)
