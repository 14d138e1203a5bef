"""Queries for RAMON objects: predicates that must all hold, and a limit of ids."""

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from ndlambda.errors import InvalidArgumentError, PathSyntaxError
from ndlambda.model.ramon.fields import TYPE_KEY, fields_by_key
from ndlambda.model.ramon.kinds import NUMBER, REAL, TEXT, Form, Kind
from ndlambda.model.ramon.objects import Annotation, RamonType
from ndlambda.model.readers import Refusal

Relation: TypeAlias = Literal["=", "<", ">"]

MAX_PREDICATES: Final = 32
_MAX_WORDS: Final = 4 * MAX_PREDICATES
"""Of a query path: a predicate has two or three, and so has a limit."""
"""Most predicates of a query; each may need a look-up among all objects of a channel."""

CONFIDENCE_KEY: Final = "ann_confidence"
_SHORT: Final = {
    "type": TYPE_KEY,
    "status": "ann_status",
    "confidence": CONFIDENCE_KEY,
    "author": "ann_author",
}
"""Short names of keys that all objects have; pairs cannot use these keys."""
_COMPARE: Final[dict[Relation, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_RELATIONS: Final[dict[str, Relation]] = {"lt": "<", "gt": ">"}


@dataclass(frozen=True, slots=True)
class Predicate:
    """A condition on an object.

    Attributes
    ----------
    key
        Key of a field as in the flat JSON, or of a key-value pair.
    relation
        ``<`` and ``>`` apply to the confidence only.
    value
        A value of the field's kind (for a list of ids, one element), or the text of a pair.
    """

    key: str
    relation: Relation
    value: Any

    @property
    def kind(self) -> Kind:
        """The kind of the key's field; pairs are text."""
        return _kind_of(self.key)

    @property
    def owners(self) -> frozenset[RamonType]:
        """The types whose objects can have the key."""
        known = fields_by_key().get(self.key)
        return frozenset(RamonType) if known is None else known[1]

    def holds(self, ramon: Annotation) -> bool:
        """Return whether the predicate holds for an object."""
        if self.key == TYPE_KEY:
            return bool(ramon.ramon_type == self.value)
        known = fields_by_key().get(self.key)
        if known is None:
            return bool(ramon.kvpairs.get(self.key) == self.value)
        declared, owners = known
        if ramon.ramon_type not in owners:
            return False
        found = getattr(ramon, declared.name)
        if declared.kind.form is Form.IDS:
            return self.value in found
        return bool(_COMPARE[self.relation](found, self.value))


@dataclass(frozen=True, slots=True)
class ObjectQuery:
    """Predicates that must all hold, the most ids to return (None: all), and where to begin.

    Attributes
    ----------
    after
        Only ids above this one.

    Raises
    ------
    InvalidArgumentError
        There are more predicates than ``MAX_PREDICATES``.
    """

    predicates: tuple[Predicate, ...] = ()
    limit: int | None = None
    after: int = 0

    def __post_init__(self) -> None:
        if len(self.predicates) > MAX_PREDICATES:
            raise InvalidArgumentError(
                f"A query has at most {MAX_PREDICATES} predicates, not {len(self.predicates)}.",
                limit=MAX_PREDICATES,
            )

    def holds(self, ramon: Annotation) -> bool:
        """Return whether all predicates hold for an object."""
        return all(predicate.holds(ramon) for predicate in self.predicates)


def _kind_of(key: str) -> Kind:
    if key == TYPE_KEY:
        return NUMBER
    known = fields_by_key().get(key)
    return TEXT if known is None else known[0].kind


def equals(key: str, word: str) -> Predicate:
    """Return the predicate that a key has the value of a word.

    Raises
    ------
    InvalidArgumentError
        The word is not a value of the key's field.
    """
    kind = _kind_of(key)
    if kind.form is Form.IDS and "," in word:
        raise InvalidArgumentError(f"{key} is asked for one id, not {word[:80]!r}.", key=key)
    try:
        value = kind.parse(word)
    except Refusal as refusal:
        raise InvalidArgumentError(f"{key} {refusal}, not {word[:80]!r}.", key=key) from None
    if kind.form is Form.IDS:
        if not value:
            raise InvalidArgumentError(f"{key} is asked for an id.", key=key)
        value = value[0]
    return Predicate(key, "=", value)


def parse_query(words: Sequence[str]) -> ObjectQuery:
    """Parse the words of a query path: ``type/4/confidence/lt/0.5/mykey/myvalue/limit/10``.

    Keys are those of the flat JSON (``seg_neuron``), or ``type``, ``status``, ``confidence``,
    ``author``. Without words all objects match.

    Raises
    ------
    PathSyntaxError
        A value is missing, ``confidence`` is followed by neither ``lt`` nor ``gt``, or the limit
        is not a positive integer.
    InvalidArgumentError
        A value does not suit its field, or there are too many predicates.
    """
    if len(words) > _MAX_WORDS:
        raise InvalidArgumentError(
            f"A query has at most {MAX_PREDICATES} predicates.", limit=MAX_PREDICATES
        )
    predicates: list[Predicate] = []
    limit: int | None = None
    given = iter(words)
    for word in given:
        if word == "limit":
            limit = _limit(_next(given, word))
        elif word == "confidence":
            predicates.append(_confidence(given))
        else:
            predicates.append(equals(_SHORT.get(word, word), _next(given, word)))
    return ObjectQuery(tuple(predicates), limit)


def _next(given: Iterator[str], behind: str) -> str:
    word = next(given, None)
    if word is None:
        raise PathSyntaxError(f"The query ends behind {behind[:80]!r}.", word=behind[:80])
    return word


def _limit(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) < 20 and int(word) > 0):
        raise PathSyntaxError(f"The limit must be a positive integer, not {word[:80]!r}.")
    return int(word)


def _confidence(given: Iterator[str]) -> Predicate:
    relation = _next(given, "confidence")
    if relation not in _RELATIONS:
        raise PathSyntaxError(f"A confidence is asked with lt or gt, not {relation[:80]!r}.")
    word = _next(given, relation)
    try:
        value = REAL.parse(word)
    except Refusal as refusal:
        raise InvalidArgumentError(f"A confidence {refusal}, not {word[:80]!r}.") from None
    return Predicate(CONFIDENCE_KEY, _RELATIONS[relation], value)
