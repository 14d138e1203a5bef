"""Defines the keys of RAMON objects and of their index.

==============================  =======================  ===========================================
pk                              sk                       row
==============================  =======================  ===========================================
``ramon#U#object#S``            ``ID``                   the object, its tombstone or a claim
``ramon#U#field#S``             ``KEY#VALUE#ID``         empty: an object has this value of a field
``ramon#U#refer#T``             ``VALUE#KEY#ID``         empty: an object names another in a field
``ramon#U#pair#S``              ``KEY#VALUE#ID``         ``type``: an object has this pair
==============================  =======================  ===========================================

``U`` is the channel's uid, so a channel that is deleted and created again never sees old objects.
``S`` is the id mod 16 in hexadecimal: no value is one hot partition, and all partitions of a
channel are known without a list of keys. Numbers are encoded so that text order is their order.

``T`` is the referenced id mod 16: all references to one object share a partition, so its derived
lists take one query. (Sharded like the rest, those of a segment took 64.)

The index is a superset of the truth, so readers compare with the object. A type's own field is not
indexed while it has its default, nor are places and missing authors: queries for these scan the
objects of the type.

Key-value pairs have partitions of their own, so that counting keys reads nothing else. Counters
would be faster, but every creation would write the same few rows, and a crash half-way would leave
them wrong.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote, unquote

from ndlambda.model.ramon import Annotation, Predicate, fields_of
from ndlambda.model.ramon.fields import TYPE_KEY, fields_by_key
from ndlambda.model.ramon.kinds import Form, Kind
from ndlambda.model.ramon.objects import RamonType
from ndlambda.services.support.paging import Key
from ndlambda.stores.ports import Row

SHARDS: Final = 16
COMMON: Final = frozenset({TYPE_KEY, "ann_status", "ann_confidence"})
"""Keys that are in the index of every object, whatever their value."""

_MAX_KEY_BYTES: Final = 200
_MAX_VALUE_BYTES: Final = 700
"""Of a sort key's parts; DynamoDB allows 1024 in total."""
_ID_DIGITS: Final = 20
_AFTER_IDS: Final = "~"
_PARTITIONS: Final = ("object", "field", "refer", "pair")


@dataclass(frozen=True, slots=True)
class KeyRange:
    """A range of sort keys of an index.

    Attributes
    ----------
    index
        Its name.
    first, last
        Bounds of the sort keys, inclusive.
    shard
        The partition; None: all of the index.
    ordered
        Whether the ids at the end of the sort keys ascend: all keys have one value.
    """

    index: str
    first: str
    last: str
    shard: int | None = None
    ordered: bool = True

    def behind(self, annotation_id: int) -> "KeyRange":
        """Return the part of an ordered range whose ids are greater."""
        start = self.last.removesuffix(_AFTER_IDS)
        return replace(self, first=f"{start}{annotation_id + 1:0{_ID_DIGITS}d}")


def partitions(uid: str) -> list[str]:
    """Return all partitions of a channel."""
    return [f"ramon#{uid}#{name}#{shard:x}" for name in _PARTITIONS for shard in range(SHARDS)]


def shards(uid: str, index: str, shard: int | None = None) -> list[str]:
    """Return the partitions of one index of a channel, or the one of ``shard``."""
    return [
        f"ramon#{uid}#{index}#{each:x}" for each in (range(SHARDS) if shard is None else [shard])
    ]


def object_key(uid: str, annotation_id: int) -> Key:
    """Return the key of an object's row."""
    return _partition(uid, "object", annotation_id), f"{annotation_id:0{_ID_DIGITS}d}"


def objects_span() -> KeyRange:
    """Return the range of all objects."""
    return KeyRange("object", "", _AFTER_IDS)


def referring_span(annotation_id: int, key: str = "") -> KeyRange:
    """Return the range of all references to an object (in one field)."""
    start = f"{_whole(annotation_id)}#" + (f"{key}#" if key else "")
    shard = annotation_id % SHARDS
    return KeyRange("refer", start, start + _AFTER_IDS, shard, ordered=bool(key))


def referring_key_of(row: Row) -> str:
    """Return the key of the field that holds a reference."""
    return row.sk.split("#")[1]


def id_of(row: Row) -> int:
    """Return the id at the end of a row's sort key."""
    return int(row.sk[-_ID_DIGITS:])


def key_of(row: Row) -> str:
    """Return the key of a pair's row."""
    return str(row.doc.get("key") or unquote(row.sk.partition("#")[0]))


def index_rows(uid: str, ramon: Annotation) -> list[Row]:
    """Return the distinct index rows of an object."""
    found: dict[Key, Row] = {}
    for key, other in _references(ramon):
        sk = f"{referring_span(other, key).first}{ramon.id:0{_ID_DIGITS}d}"
        row_key = _partition(uid, "refer", other), sk
        found[row_key] = Row(*row_key)
    for index, key, value in _entries(ramon):
        sk = f"{_start(key, value)}{ramon.id:0{_ID_DIGITS}d}"
        row_key = _partition(uid, index, ramon.id), sk
        doc = {}
        if index == "pair":
            # The type allows counting the keys of one type without reading the objects.
            doc = {"type": int(ramon.ramon_type)} | ({"key": key} if _is_long(key) else {})
        found[row_key] = Row(*row_key, doc=doc)
    return list(found.values())


def spans_of(predicate: Predicate) -> Sequence[KeyRange]:
    """Return the ranges of the index that contain every object for which a predicate holds."""
    key, value, kind = predicate.key, predicate.value, predicate.kind
    known = fields_by_key().get(key)
    if known is None and key != TYPE_KEY:
        return [_span("pair", key, _text(value))]
    if key not in COMMON and (kind.is_triple or (known and value == known[0].default)):
        every = _start(TYPE_KEY, "")[:-1]
        if len(predicate.owners) == len(RamonType):
            return [KeyRange("field", every, every + _AFTER_IDS, ordered=False)]
        return [_span("field", TYPE_KEY, _whole(number)) for number in sorted(predicate.owners)]
    if kind.refers:
        return [referring_span(value, key)]
    every, exact = _start(key, "")[:-1], _span("field", key, _encoded(kind, value))
    match predicate.relation:
        case "<":
            exact = replace(exact, first=every, last=exact.first, ordered=False)
        case ">":
            exact = replace(exact, first=exact.last, last=every + _AFTER_IDS, ordered=False)
    return [exact]


def _entries(ramon: Annotation) -> Iterator[tuple[str, str, str]]:
    yield "field", TYPE_KEY, _whole(ramon.ramon_type)
    for name, declared in fields_of(ramon.ramon_type).items():
        value = getattr(ramon, name)
        if declared.kind.refers:
            continue
        if declared.key in COMMON or (value != declared.default and not declared.kind.is_triple):
            yield "field", declared.key, _encoded(declared.kind, value)
    for key, text in ramon.kvpairs.items():
        yield "pair", key, _text(text)


def _references(ramon: Annotation) -> Iterator[tuple[str, int]]:
    for name, declared in fields_of(ramon.ramon_type).items():
        value = getattr(ramon, name)
        if declared.kind.refers and value != declared.default:
            yield from (
                (declared.key, other)
                for other in (value if declared.kind.form is Form.IDS else [value])
            )


def _partition(uid: str, index: str, annotation_id: int) -> str:
    return f"ramon#{uid}#{index}#{annotation_id % SHARDS:x}"


def _span(index: str, key: str, value: str) -> KeyRange:
    start = _start(key, value)
    return KeyRange(index, start, start + _AFTER_IDS)


def _start(key: str, value: str) -> str:
    # A quoted key contains no "#", so the first one ends it.
    part = _digest(key) if _is_long(key) else quote(key, safe=" ")
    return f"{part}#{value}#"


def _is_long(key: str) -> bool:
    return len(quote(key, safe=" ")) > _MAX_KEY_BYTES


def _encoded(kind: Kind, value: Any) -> str:
    match kind.form:
        case Form.REAL:
            return _real(value)
        case Form.TEXT:
            return _text(value)
    return _whole(value)


def _whole(value: int) -> str:
    """Encode an integer from -2**63 to 2**64 - 1 as 20 digits whose text order is its order."""
    return f"{value + 2**63:020d}"


def _real(value: float) -> str:
    """Encode a finite real as 16 hexadecimal digits whose text order is its order."""
    # Adding 0.0 turns negative zero into zero. With the sign bit inverted, and all bits of
    # negative numbers, the bits of IEEE 754 compare like the numbers.
    bits = int.from_bytes(struct.pack(">d", value + 0.0), "big")
    return f"{bits ^ (2**64 - 1 if bits >> 63 else 2**63):016x}"


def _text(value: str) -> str:
    if len(value.encode()) <= _MAX_VALUE_BYTES:
        return value
    return _digest(value)


def _digest(text: str) -> str:
    return "~" + hashlib.sha256(text.encode()).hexdigest()
