"""Formats ``json`` (ndstore's flat form), ``json-old`` (ndio's) and ``csv`` (a table per object).

The old form is ``{"21": {"type": "synapse", "metadata": {field: value, "kvpairs": {}}}}``, with two
peculiarities that ndio 1.1.5 and 1.1.6 depend on: an annotation without a type of its own is
"generic", and the class of an organelle is a list of one number, because ndio slices it. The flat
form contains ``type`` and ``metadata`` of the old one beside its own keys, so that readers of both
are served; an object with a pair of such a name is flat only.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, Final, NoReturn

from ndlambda.errors import MalformedBodyError, PayloadTooLargeError, ValidationError
from ndlambda.model.ramon import (
    OLD_KEYS,
    Annotation,
    RamonType,
    build,
    fields_of,
    from_flat,
    to_flat,
)
from ndlambda.model.readers import unique_fields
from ndlambda.wire.ramon.contract import RamonFormat, RamonItem, RamonLimits
from ndlambda.wire.ramon.hdf5_encode import DERIVED_NAMES
from ndlambda.wire.ramon.pairs import pairs_text

_NDIO_WORDS: Final = {"annotation": "generic"}
_CLASS: Final = "organelleclass"


def encode_flat(items: Sequence[RamonItem]) -> bytes:
    """Return ``{"21": {"ann_id": 21, ..., "type": "synapse", "metadata": {...}}}``.

    A bounding box adds ``bbcorner`` and ``bbdim``.
    """
    return json.dumps({str(item.ramon.id): _flat(item) for item in items}).encode()


def decode_flat(body: bytes | memoryview, limits: RamonLimits) -> list[RamonItem]:
    """Decode flat objects; the id is the ``ann_id`` inside, not the outer key.

    Raises
    ------
    MalformedBodyError
        It is not JSON of this form, or repeats a field.
    ValidationError
        A field has an invalid value for its type.
    PayloadTooLargeError
        There are more objects than the limits allow.
    """
    return [RamonItem(from_flat(value)) for value in _objects(body, limits).values()]


def encode_old(items: Sequence[RamonItem]) -> bytes:
    """Return the old form, with field names instead of keys."""
    return json.dumps({str(item.ramon.id): _old(item) for item in items}).encode()


def decode_old(body: bytes | memoryview, limits: RamonLimits) -> list[RamonItem]:
    """Decode the old form; the outer key is the id, or requests a new one. Raises as flat."""
    return [RamonItem(_from_old(name, value)) for name, value in _objects(body, limits).items()]


def encode_csv(items: Sequence[RamonItem]) -> bytes:
    """Return lines ``FIELD,value``: an object's datasets as in HDF5, arrays as text."""
    out = StringIO(newline="")
    lines = csv.writer(out)
    for item in items:
        lines.writerow(("ANNOTATION_ID", item.ramon.id))
        lines.writerow(("ANNOTATION_TYPE", int(item.ramon.ramon_type)))
        if item.box is not None:
            lines.writerow(("RESOLUTION", item.box.resolution))
            lines.writerow(("XYZOFFSET", list(item.box.corner_xyz)))
            lines.writerow(("XYZDIMENSION", list(item.box.size_xyz)))
        for name, declared in fields_of(item.ramon.ramon_type).items():
            value = getattr(item.ramon, name)
            lines.writerow((declared.hdf5, list(value) if declared.kind.is_list else value))
        for name, dataset in DERIVED_NAMES.get(item.ramon.ramon_type, {}).items():
            if name in item.derived:
                lines.writerow((dataset, list(item.derived[name])))
        lines.writerow(("KVPAIRS", pairs_text(item.ramon.kvpairs)))
    return out.getvalue().encode()


def _flat(item: RamonItem) -> dict[str, Any]:
    flat = to_flat(item.ramon)
    if item.ramon.kvpairs.keys().isdisjoint(OLD_KEYS):
        flat |= _old(item)
    if item.box is not None:
        flat |= {"bbcorner": list(item.box.corner_xyz), "bbdim": list(item.box.size_xyz)}
    return flat


def _old(item: RamonItem) -> dict[str, Any]:
    ramon = item.ramon
    metadata: dict[str, Any] = {name: list(ids) for name, ids in item.derived.items()}
    for name, declared in fields_of(ramon.ramon_type).items():
        value = getattr(ramon, name)
        metadata[name] = list(value) if declared.kind.is_list else value
    if ramon.ramon_type is RamonType.ORGANELLE:
        metadata[_CLASS] = [metadata[_CLASS]]
    word = ramon.ramon_type.name.lower()
    return {
        "type": _NDIO_WORDS.get(word, word),
        "metadata": {**metadata, "kvpairs": dict(ramon.kvpairs)},
    }


def _from_old(name: str, value: object) -> Annotation:
    match value:
        case {"type": str(word), "metadata": Mapping() as metadata}:
            pass
        case _:
            message = "An object of the older form has a type and metadata."
            raise MalformedBodyError(message)
    known_word = {ndio: own for own, ndio in _NDIO_WORDS.items()}.get(word, word).upper()
    if known_word not in RamonType.__members__:
        raise ValidationError({"type": f"{word[:80]!r} is no type of RAMON objects"})
    ramon_type = RamonType[known_word]
    pairs = metadata.get("kvpairs", {})
    if not isinstance(pairs, Mapping):
        raise ValidationError({"kvpairs": "must be an object"})
    known = fields_of(ramon_type)
    values = {field: metadata[field] for field in known if field in metadata}
    match values.get(_CLASS):
        case [number]:
            values[_CLASS] = number
    is_number = name.isascii() and name.isdecimal() and len(name) <= 20
    return build(ramon_type, int(name) if is_number else 0, values, pairs)


def _objects(body: bytes | memoryview, limits: RamonLimits) -> Mapping[str, object]:
    try:
        value = json.loads(
            bytes(body), object_pairs_hook=unique_fields, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise MalformedBodyError(f"The body is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        message = 'The body must be a JSON object like {"0": {"ann_type": 1}}.'
        raise MalformedBodyError(message)
    if len(value) > limits.objects:
        raise PayloadTooLargeError(
            f"The body has {len(value)} objects; at most {limits.objects} are read.",
            limit=limits.objects,
        )
    return value


def _refuse_constant(word: str) -> NoReturn:
    message = f"{word} is no number of JSON"
    raise ValueError(message)


FORMATS = (
    RamonFormat("json", "application/json", encode_flat, decode_flat),
    RamonFormat("json-old", "application/json", encode_old, decode_old),
    RamonFormat("csv", "text/csv", encode_csv, None),
)
