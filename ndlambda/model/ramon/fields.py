"""Fields of RAMON objects by name or key: validate, read and set them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Final, get_type_hints

from ndlambda.errors import InvalidArgumentError, NotFoundError, ValidationError
from ndlambda.model.ramon.kinds import LARGEST_ID, LONGEST_KEY, LONGEST_VALUE, Form, Kind
from ndlambda.model.ramon.objects import CLASSES, Annotation, RamonType, Stored
from ndlambda.model.readers import Refusal, integer, text

DERIVED: Final[Mapping[RamonType, Mapping[str, tuple[str, ...]]]] = {
    RamonType.SEGMENT: {
        "synapses": ("syn_segments",),
        "presynapses": ("syn_presegments",),
        "postsynapses": ("syn_postsegments",),
        "organelles": ("org_segment",),
    },
    RamonType.NEURON: {"segments": ("seg_neuron",)},
    # ndstore looks for roi_parent of a node, and its own test creates children of that type.
    RamonType.NODE: {"children": ("node_parent", "roi_parent")},
    RamonType.SKELETON: {"nodes": ("node_skeleton",)},
    RamonType.ROI: {"children": ("roi_parent",)},
}
"""Lists that are computed rather than stored: by name, the keys of objects that refer to this."""

ID_FIELD: Final = "annid"
ID_KEY: Final = "ann_id"
TYPE_KEY: Final = "ann_type"

_read_id = integer(0, LARGEST_ID)
_read_key = text(LONGEST_KEY)
_read_pair_value = text(LONGEST_VALUE)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a type: its name (also the attribute), storage keys, kind and default."""

    name: str
    key: str
    hdf5: str
    kind: Kind
    default: Any


@cache
def fields_of(ramon_type: RamonType) -> Mapping[str, Field]:
    """Return the settable fields of a type by name, in the order of ndstore's tables."""
    kind = CLASSES[ramon_type]
    hints = get_type_hints(kind, include_extras=True)
    found: dict[str, Field] = {}
    for declared in fields(kind):
        for stored in getattr(hints[declared.name], "__metadata__", ()):
            if isinstance(stored, Stored):
                found[declared.name] = Field(
                    declared.name, stored.key, stored.hdf5, stored.kind, declared.default
                )
    return MappingProxyType(found)


@cache
def fields_by_key() -> Mapping[str, tuple[Field, frozenset[RamonType]]]:
    """Return every field of every type by its key, with the types that have the field."""
    found: dict[str, tuple[Field, frozenset[RamonType]]] = {}
    for ramon_type in RamonType:
        for declared in fields_of(ramon_type).values():
            _, owners = found.get(declared.key, (declared, frozenset()))
            found[declared.key] = (declared, owners | {ramon_type})
    return MappingProxyType(found)


@cache
def reserved_keys(ramon_type: RamonType) -> frozenset[str]:
    """Return the names that key-value pairs of an object of this type must not use.

    In ndstore such a pair overwrote the field, or getField could never read it. The names are the
    keys of all types, what boundingbox adds to the JSON, and this type's own field names.
    """
    own = {*fields_of(ramon_type), *DERIVED.get(ramon_type, ()), ID_FIELD}
    return frozenset({*fields_by_key(), ID_KEY, TYPE_KEY, "bbcorner", "bbdim", *own})


def build(
    ramon_type: RamonType,
    annotation_id: object,
    values: Mapping[str, object],
    kvpairs: Mapping[str, object],
) -> Annotation:
    """Return an object from validated values; missing fields get their defaults.

    Parameters
    ----------
    ramon_type
        Type of the object.
    annotation_id
        0 requests a new id.
    values
        By field name.
    kvpairs
        Key-value pairs; numbers become text, as in ndstore's table.

    Raises
    ------
    ValidationError
        Values have a wrong type or are out of range, fields do not belong to the type, or keys are
        reserved or too long; all are listed.
    """
    known = fields_of(ramon_type)
    problems: dict[str, str] = {}
    checked: dict[str, Any] = {}
    try:
        checked["id"] = _read_id(annotation_id)
    except Refusal as refusal:
        problems[ID_KEY] = str(refusal)
    for name, value in values.items():
        if name not in known:
            problems[name[:80]] = f"is not a field of a {ramon_type.name.lower()}"
            continue
        try:
            checked[name] = known[name].kind.read(value)
        except Refusal as refusal:
            problems[name] = str(refusal)
    checked["kvpairs"] = _read_pairs(ramon_type, kvpairs, problems)
    if problems:
        raise ValidationError(problems)
    return CLASSES[ramon_type](**checked)


def check(ramon: Annotation) -> Annotation:
    """Return an object if all its values are valid. Raises as ``build``."""
    values = {name: getattr(ramon, name) for name in fields_of(ramon.ramon_type)}
    return build(ramon.ramon_type, ramon.id, values, ramon.kvpairs)


def get_field(ramon: Annotation, name: str) -> str:
    """Return a field or a key-value pair as text, as getField answers it.

    Lists are joined with ``,``. Derived lists are not known here.

    Raises
    ------
    NotFoundError
        The object has no such field or pair.
    """
    if name == ID_FIELD:
        return str(ramon.id)
    declared = fields_of(ramon.ramon_type).get(name)
    if declared is not None:
        return declared.kind.show(getattr(ramon, name))
    if name in ramon.kvpairs:
        return ramon.kvpairs[name]
    raise NotFoundError(f"Object {ramon.id} has no field {name[:80]!r}.", field=name[:80])


def with_field(ramon: Annotation, name: str, word: str) -> Annotation:
    """Return the object with a field set to the value of a word; other names become pairs.

    Raises
    ------
    InvalidArgumentError
        The field is the id or a derived list.
    ValidationError
        The word is not a value of the field, or the name or value of the pair is invalid.
    """
    if name == ID_FIELD or name in DERIVED.get(ramon.ramon_type, ()):
        raise InvalidArgumentError(f"The field {name!r} cannot be set.", field=name)
    declared = fields_of(ramon.ramon_type).get(name)
    if declared is None:
        problems: dict[str, str] = {}
        pair = _read_pairs(ramon.ramon_type, {name: word}, problems)
        if problems:
            raise ValidationError(problems)
        return replace(ramon, kvpairs={**ramon.kvpairs, **pair})
    try:
        value = declared.kind.parse(word)
    except Refusal as refusal:
        raise ValidationError({name: str(refusal)}) from None
    return replace(ramon, **{name: value})


def with_references_moved(ramon: Annotation, losers: frozenset[int], survivor: int) -> Annotation:
    """Return the object with references to losers of a merge replaced by the survivor.

    A list names the survivor once. The survivor must not refer to itself: such a reference gets its
    default, or is removed from its list.
    """
    changes: dict[str, Any] = {}
    for declared in fields_of(ramon.ramon_type).values():
        value = getattr(ramon, declared.name)
        if not declared.kind.refers:
            continue
        if declared.kind.form is Form.IDS:
            if not losers.isdisjoint(value):
                changes[declared.name] = _moved(value, losers, survivor, ramon.id)
        elif value in losers:
            changes[declared.name] = declared.default if ramon.id == survivor else survivor
    return replace(ramon, **changes) if changes else ramon


def _moved(
    value: tuple[int, ...], losers: frozenset[int], survivor: int, owner: int
) -> tuple[int, ...]:
    kept: list[int] = []
    named = survivor in value or owner == survivor
    for element in value:
        if element not in losers:
            kept.append(element)
        elif not named:
            kept.append(survivor)
            named = True
    return tuple(kept)


def _read_pairs(
    ramon_type: RamonType, kvpairs: Mapping[str, object], problems: dict[str, str]
) -> dict[str, str]:
    reserved = reserved_keys(ramon_type)
    pairs: dict[str, str] = {}
    for key, value in kvpairs.items():
        name = str(key)[:80]
        if not key:
            problems["key"] = "must not be empty"
        elif key in reserved:
            problems[name] = "is a reserved name and cannot be a key"
        else:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            try:
                pairs[_read_key(key)] = _read_pair_value(str(value) if is_number else value)
            except Refusal as refusal:
                problems[name] = str(refusal)
    return pairs
