"""Object queries as URL parameters: ``type=synapse&confidence_gt=0.8&field.segments=7``."""

from collections.abc import Iterator
from typing import Final

from werkzeug.datastructures import MultiDict

from ndlambda.errors import InvalidArgumentError, ValidationError
from ndlambda.model.ramon import (
    LARGEST_ID,
    ObjectQuery,
    Predicate,
    RamonType,
    fields_of,
    parse_query,
)
from ndlambda.model.ramon.fields import TYPE_KEY, fields_by_key
from ndlambda.model.ramon.plain import TYPE_WORDS, read_type_word
from ndlambda.model.ramon.query import equals
from ndlambda.web import routing
from ndlambda.web.request.page import PAGE, read_after, read_limit

TYPE: Final = routing.QueryParameter("type", f"{', '.join(TYPE_WORDS)}, or ndstore's number")
WHERE: Final = (
    TYPE,
    routing.QueryParameter("status", "status of the object"),
    routing.QueryParameter("author", "author of the object"),
    routing.QueryParameter("confidence_lt", "confidence is below"),
    routing.QueryParameter("confidence_gt", "confidence is above"),
    *PAGE,
)
SHOWN: Final = (
    routing.QueryParameter(
        "field.NAME", "a field has this value, or a list this id; may be repeated"
    ),
    routing.QueryParameter("pair.KEY", "a key-value pair has this value; may be repeated"),
)
"""How the two families of parameters appear in the OpenAPI document."""
PREFIXES: Final = ("field.", "pair.")

_WORDS: Final = {
    "status": ("status",),
    "author": ("author",),
    "confidence_lt": ("confidence", "lt"),
    "confidence_gt": ("confidence", "gt"),
}


def read_query(query: MultiDict[str, str]) -> ObjectQuery:
    """Return the object query of URL parameters; all conditions must hold, none selects all.

    Raises
    ------
    InvalidArgumentError
        A value does not suit its field, or no type, or several types, have the field; or the page
        is none.
    """
    words = [
        word for name, path in _WORDS.items() if name in query for word in (*path, query[name])
    ]
    parsed = parse_query(words)
    ramon_type = read_type(query)
    typed = () if ramon_type is None else (Predicate(TYPE_KEY, "=", int(ramon_type)),)
    predicates = (*typed, *parsed.predicates, *_families(query, ramon_type))
    return ObjectQuery(predicates, read_limit(query), _after(query))


def read_type(query: MultiDict[str, str]) -> RamonType | None:
    """Return ``type=``, a word or a number, or None if it is absent.

    Raises
    ------
    InvalidArgumentError
        There is no such type.
    """
    word = query.get("type")
    if word is None:
        return None
    number = int(word) if word.isascii() and word.isdecimal() and len(word) < 4 else None
    try:
        return read_type_word(word if number is None else number)
    except ValidationError as error:
        raise InvalidArgumentError(error.message, parameter="type") from None


def _after(query: MultiDict[str, str]) -> int:
    number = int(read_after(query, r"[0-9]{1,20}") or 0)
    if number > LARGEST_ID:
        raise InvalidArgumentError(f"after={number} is no id.", parameter="after")
    return number


def _families(query: MultiDict[str, str], ramon_type: RamonType | None) -> Iterator[Predicate]:
    for name, value in query.items(multi=True):
        family, _, rest = name.partition(".")
        if family == "field" and rest:
            yield equals(_key(rest, ramon_type), value)
        elif family == "pair" and rest:
            yield _pair(rest, value)
        elif name in PREFIXES:
            raise InvalidArgumentError(f"{name!r} names no field or key.", parameter=name)


def _key(name: str, ramon_type: RamonType | None) -> str:
    types = list(RamonType) if ramon_type is None else [ramon_type]
    keys = {fields_of(kind)[name].key for kind in types if name in fields_of(kind)}
    if not keys:
        what = "No type" if ramon_type is None else f"A {ramon_type.name.lower()}"
        raise InvalidArgumentError(f"{what} has a field {name[:80]!r}.", field=name[:80])
    if len(keys) > 1:
        raise InvalidArgumentError(
            f"Several types have a field {name!r}; add type= to say which is meant.", field=name
        )
    return keys.pop()


def _pair(key: str, value: str) -> Predicate:
    if key == TYPE_KEY or key in fields_by_key():
        raise InvalidArgumentError(
            f"{key!r} is a field and no key; ask with field.NAME=, type= or status=.", key=key
        )
    return Predicate(key, "=", value)
