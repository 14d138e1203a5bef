"""RAMON objects as readable JSON: fields by name, types by word, pairs separate.

::

    {"id": 21, "type": "synapse", "status": 1, "confidence": 0.9, "author": "kasthuri",
     "weight": 0.5, "segments": [7, 9], "centroid": [10, 20, 3], …, "pairs": {"proofread": "yes"}}

ndstore's JSON (:mod:`ndlambda.model.ramon.flat`) mixes pairs with fields and writes positions as
JSON text inside JSON; the stored form (:mod:`ndlambda.model.ramon.documents`) is trusted and omits
defaults. The server adds ``derived`` lists and the ``version``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ndlambda.errors import MalformedBodyError, ValidationError
from ndlambda.model.ramon.fields import build, fields_of
from ndlambda.model.ramon.kinds import LARGEST_ID
from ndlambda.model.ramon.objects import Annotation, RamonType
from ndlambda.model.readers import Refusal, integer

TYPE_WORDS: Final = tuple(kind.name.lower() for kind in RamonType)
"""The types as words, in the order of their numbers."""

_NOT_FIELDS: Final = frozenset({"id", "type", "pairs", "version", "derived"})
"""Names that no field may have; the last two are the server's and may be sent back."""

_read_id = integer(0, LARGEST_ID)


def to_plain(
    ramon: Annotation, derived: Mapping[str, Sequence[int]], version: int
) -> dict[str, Any]:
    """Return the JSON object of an object with all fields.

    Parameters
    ----------
    ramon
        The object.
    derived
        Lists that are computed rather than stored, by field name.
    version
        Version of the stored object.
    """
    fields: dict[str, Any] = {}
    for name, declared in fields_of(ramon.ramon_type).items():
        value = getattr(ramon, name)
        fields[name] = list(value) if declared.kind.is_list else value
    return {
        "id": ramon.id,
        "type": ramon.ramon_type.name.lower(),
        **fields,
        "pairs": dict(ramon.kvpairs),
        "derived": {name: list(ids) for name, ids in derived.items()},
        "version": version,
    }


def from_plain(document: object, annotation_id: int | None = None) -> Annotation:
    """Read an object; missing fields get their defaults.

    Parameters
    ----------
    document
        As ``to_plain`` returns it; only ``type`` is required.
    annotation_id
        The id that it must have if it names one; None accepts any, and 0 requests a new one.

    Raises
    ------
    MalformedBodyError
        It is not a JSON object.
    ValidationError
        The type is missing or unknown, the id differs, or as
        :func:`ndlambda.model.ramon.build`.
    """
    given = _mapping(document)
    ramon_type = read_type_word(given.get("type"))
    number = _id_of(given, annotation_id)
    return build(ramon_type, number, _values(given), _pairs(given))


def patched(ramon: Annotation, changes: object) -> Annotation:
    """Return an object with some fields changed by a JSON merge patch (RFC 7396).

    A null resets a field to its default, or removes a pair. The id and the type cannot change.

    Raises
    ------
    MalformedBodyError
        The changes are not a JSON object.
    ValidationError
        They change the id or type, or as :func:`ndlambda.model.ramon.build`.
    """
    given = _mapping(changes)
    _id_of(given, ramon.id)
    if "type" in given and read_type_word(given["type"]) is not ramon.ramon_type:
        raise ValidationError({"type": "cannot be changed in part; replace the object"})
    now: dict[str, Any] = {name: getattr(ramon, name) for name in fields_of(ramon.ramon_type)}
    return build(
        ramon.ramon_type,
        ramon.id,
        _merged(now, _values(given)),
        _merged(ramon.kvpairs, _pairs(given)),
    )


def read_type_word(word: object) -> RamonType:
    """Return the type with a name or a number.

    Raises
    ------
    ValidationError
        There is no such type.
    """
    if isinstance(word, str) and word.lower() in TYPE_WORDS:
        return RamonType(TYPE_WORDS.index(word.lower()) + 1)
    if isinstance(word, int) and not isinstance(word, bool) and word in set(RamonType):
        return RamonType(word)
    raise ValidationError({"type": f"must be one of {', '.join(TYPE_WORDS)}"})


def _mapping(document: object) -> Mapping[str, object]:
    if not isinstance(document, Mapping):
        raise MalformedBodyError('An object must be a JSON object like {"type": "segment"}.')
    return document


def _id_of(given: Mapping[str, object], annotation_id: int | None) -> int:
    try:
        number: int = _read_id(given.get("id", annotation_id or 0))
    except Refusal as refusal:
        raise ValidationError({"id": str(refusal)}) from None
    if annotation_id is not None and number != annotation_id:
        raise ValidationError({"id": f"must be {annotation_id}, as in the path, or left out"})
    return number


def _values(given: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in given.items() if name not in _NOT_FIELDS}


def _pairs(given: Mapping[str, object]) -> Mapping[str, object]:
    pairs = given.get("pairs", {})
    if not isinstance(pairs, Mapping):
        raise ValidationError({"pairs": 'must be an object like {"proofread": "yes"}'})
    return pairs


def _merged(now: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    kept = {name: value for name, value in now.items() if changes.get(name, value) is not None}
    return kept | {name: value for name, value in changes.items() if value is not None}
