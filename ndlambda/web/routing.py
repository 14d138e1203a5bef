"""The route table: what a route is, how paths are normalised, how routes are discovered."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from werkzeug.routing import BaseConverter, Map, Rule
from werkzeug.wrappers import Request, Response

from ndlambda.model.principal import Principal
from ndlambda.model.reserved import CHANNEL_WORDS, FIRST_WORDS
from ndlambda.web.problem import Dialect
from ndlambda.wire.discovery import modules

if TYPE_CHECKING:
    from ndlambda.runtime import Runtime

CHANNEL_RULE: Final = "/v1/projects/<name:token>/channels/<name:channel>"
"""Rule of a channel under v1, which starts the rules of everything in it."""

_PREFIXES = frozenset({"nd", "ocp"})
_ALIASES = {"ca": "sd", "ocpca": "sd", "tilecache": "catmaid"}


def normalise(path: str) -> str:
    """Return the canonical form of a path.

    Repeated slashes collapse, leading ``nd`` and ``ocp`` segments are dropped, ``ca`` becomes
    ``sd`` and ``tilecache`` becomes ``catmaid`` (ndstore mounted its tree twice behind a
    rewriting proxy).
    """
    segments = re.sub(r"/+", "/", path).lstrip("/").split("/")
    while len(segments) > 1 and segments[0] in _PREFIXES:
        segments = segments[1:]
    segments[0] = _ALIASES.get(segments[0], segments[0])
    return "/" + "/".join(segments)


@dataclass(frozen=True, slots=True)
class Context:
    """What a view knows of its request.

    Attributes
    ----------
    path
        The normalised path with its final slash, which options of legacy cutouts depend on.
    routes
        The route table, for views that describe it.
    """

    request: Request
    runtime: "Runtime"
    principal: Principal
    request_id: str
    path: str
    routes: "Sequence[Route]"


View = Callable[..., Response]


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """A query parameter, for the OpenAPI document."""

    name: str
    description: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    Attributes
    ----------
    rule
        werkzeug rule after normalisation, without a final slash; a final slash is optional.
    view
        Called with a ``Context`` and the rule's arguments by name.
    dialect
        Which statuses errors get.
    summary
        One line for the OpenAPI document.
    query, body
        Parameters and what the body holds, for the OpenAPI document.
    changes
        Whether a GET changes something, as some of ndstore's do. Such a path has no HEAD, because
        a client that only checks a path must not write.
    carries_uploads
        Whether the route stands in for the store and accepts uploads up to the settings' limit;
        Lambda's limit holds for all others.
    """

    method: str
    rule: str
    view: View
    summary: str
    dialect: Dialect = Dialect.V1
    query: Sequence[QueryParameter] = ()
    body: str = ""
    changes: bool = False
    carries_uploads: bool = False

    @property
    def may_change(self) -> bool:
        """Whether the route may change something: all but GETs, and those that say so."""
        return self.changes or self.method != "GET"


class NameConverter(BaseConverter):
    """A name as ndstore routes it: letters, digits, underscore."""

    regex = r"\w+"


class NamesConverter(BaseConverter):
    """One or several channel names joined by commas; matched before literal words in that place.

    ``/sd/TOKEN/npz/raw/…`` is the channel ``npz``, whatever the order of the rules.
    """

    regex = r"[\w,]+"
    weight = 90


class SegmentConverter(BaseConverter):
    """Any single segment, so that validation answers a bad name, not 404."""

    regex = r"[^/]+"


class RangeConverter(BaseConverter):
    """``a,b`` in decimal digits."""

    regex = r"[0-9]+,[0-9]+"


class IdsConverter(BaseConverter):
    """One or several ids joined by commas, as text: ``params.parse_ids`` checks their bounds."""

    regex = r"[0-9]+(?:,[0-9]+)*"


class NumberConverter(BaseConverter):
    """A non-negative integer with at most as many digits as an id; werkzeug's has no bound."""

    regex = r"[0-9]{1,20}"

    def to_python(self, value: str) -> int:
        """Return the number."""
        return int(value)


class WordsConverter(BaseConverter):
    """The rest of a path, if it consists of lower-case words: options in any order.

    The first is no word of another of ndstore's routes.
    """

    part_isolating = False
    regex = rf"(?!(?:{'|'.join(sorted(CHANNEL_WORDS - {'json'}))})(?:/|\Z))[a-z]+(?:/[a-z]+)*"
    weight = 200


class _OtherNameConverter(NameConverter):
    """A name that is not one of the literal words other rules have in its place.

    Its rules are matched last, so that they take no path from rules with literal words.
    """

    weight = 150
    excluded: frozenset[str] = frozenset()

    def __init__(self, url_map: Map) -> None:
        super().__init__(url_map)
        words = "|".join(map(re.escape, sorted(self.excluded)))
        self.regex = rf"(?!(?:{words})\Z)\w+" if words else r"\w+"


def _excluding(words: Iterable[str]) -> type[_OtherNameConverter]:
    return type("OtherNameConverter", (_OtherNameConverter,), {"excluded": frozenset(words)})


class _MatchedRule(Rule):
    """A rule that matches paths but builds no URLs.

    werkzeug compiles two URL-building functions for every rule, which took nine tenths of the time
    to make the map: a third of a second at every cold start.
    """

    def __init__(self, route: Route) -> None:
        super().__init__(route.rule, endpoint=route, methods=[route.method])
        if route.changes and self.methods is not None:
            self.methods.discard("HEAD")  # which werkzeug adds to every GET

    def _compile_builder(self, _append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _build_nothing


def _build_nothing(*_: object) -> tuple[str, str]:
    message = "Paths are not built from rules."
    raise NotImplementedError(message)


def build_map(routes: Sequence[Route]) -> Map:
    """Return the werkzeug map of a route table; endpoints are ``Route`` objects.

    Paths are matched without their final slash. In rules, ``<root:token>`` is a token in the place
    of the first word of other rules, and ``<channel:channel>`` a channel in the place of the word
    behind ``/sd/<name:token>/``; neither matches such a word, whether its route is built or not.
    """
    return Map(
        [_MatchedRule(route) for route in routes],
        converters={
            "name": NameConverter,
            "names": NamesConverter,
            "segment": SegmentConverter,
            "range": RangeConverter,
            "ids": IdsConverter,
            "number": NumberConverter,
            "words": WordsConverter,
            "root": _excluding(FIRST_WORDS),
            "channel": _excluding(CHANNEL_WORDS),
        },
        merge_slashes=False,
        redirect_defaults=False,
    )


def discover(package: str) -> list[Route]:
    """Return the ``ROUTES`` of every module of a package and its sub-packages.

    They are sorted by rule and method, so that the order of definition does not matter.
    """
    routes = [route for module in modules(package) for route in module.ROUTES]
    return sorted(routes, key=lambda route: (route.rule, route.method))
