"""The route table: what a route is, how paths are normalised, and how tables are discovered."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from werkzeug.routing import BaseConverter, Map, Rule
from werkzeug.wrappers import Request, Response

from ndlambda.model.principal import Principal
from ndlambda.web.problem import Dialect
from ndlambda.wire.discovery import modules

if TYPE_CHECKING:
    from ndlambda.runtime import Runtime

_PREFIXES = frozenset({"nd", "ocp"})
_SAME = {"ca": "sd", "ocpca": "sd", "tilecache": "catmaid"}


def normalise(path: str) -> str:
    """Return the one path of the many that ndstore's clients send for it.

    Repeated slashes collapse, leading ``nd`` and ``ocp`` segments drop, ``ca`` is ``sd`` and
    ``tilecache`` is ``catmaid`` (ndstore mounted its tree twice behind a rewriting proxy).
    """
    segments = re.sub(r"/+", "/", path).lstrip("/").split("/")
    while len(segments) > 1 and segments[0] in _PREFIXES:
        segments = segments[1:]
    segments[0] = _SAME.get(segments[0], segments[0])
    return "/" + "/".join(segments)


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that a view may know of its request.

    Attributes
    ----------
    path
        The normalised path, final slash kept (options of legacy cutouts depend on it).
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
        Whose statuses errors have.
    summary
        One line for the OpenAPI document.
    query, body
        Parameters and what the body holds, for the OpenAPI document.
    changes
        Whether a GET changes something, as some of ndstore's do. HEAD is not for its path then:
        whoever looks whether something is there must not write.
    carries_uploads
        Whether it takes bodies of any length that the settings allow, since it stands in for a
        store that does; Lambda's limit is for the others.
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


class NameConverter(BaseConverter):
    """A name as ndstore routes it: letters, digits, underscore."""

    regex = r"\w+"


class NamesConverter(BaseConverter):
    """One or several channel names joined by commas; tried before words that rules list there.

    ``/sd/TOKEN/npz/raw/…`` is the channel ``npz``, whatever the order of the rules.
    """

    regex = r"[\w,]+"
    weight = 90


class SegmentConverter(BaseConverter):
    """Any single segment, so that a bad name is answered by validation and not by 404."""

    regex = r"[^/]+"


class RangeConverter(BaseConverter):
    """``a,b`` in decimal digits."""

    regex = r"\d+,\d+"


class IdsConverter(BaseConverter):
    """One or several ids joined by commas, as text: ``params.parse_ids`` knows their bounds."""

    regex = r"[0-9]+(?:,[0-9]+)*"


class NumberConverter(BaseConverter):
    """A non-negative integer of at most as many digits as an id has; werkzeug's own has no end."""

    regex = r"[0-9]{1,20}"

    def to_python(self, value: str) -> int:
        """Return the number."""
        return int(value)


class WordsConverter(BaseConverter):
    """The rest of a path, if it is nothing but words of small letters: options in any order."""

    part_isolating = False
    regex = r"[a-z]+(?:/[a-z]+)*"
    weight = 200


class _OtherNameConverter(NameConverter):
    """A name, unless it is a word that other rules have in its place.

    Rules with one come last, so that they take no path from rules with literal words.
    """

    weight = 150
    taken: frozenset[str] = frozenset()

    def __init__(self, url_map: Map) -> None:
        super().__init__(url_map)
        words = "|".join(map(re.escape, sorted(self.taken)))
        self.regex = rf"(?!(?:{words})\Z)\w+" if words else r"\w+"


def _without(taken: Iterable[str]) -> type[_OtherNameConverter]:
    return type("OtherNameConverter", (_OtherNameConverter,), {"taken": frozenset(taken)})


class _MatchedRule(Rule):
    """A rule that paths are matched with, and that no URL is built from.

    werkzeug compiles two functions that build URLs for every rule, which took nine tenths of the
    time to make the map: a third of a second at every cold start.
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

    Paths are matched without their final slash. In rules, ``<root:token>`` is a token that stands
    where other rules have their first word, and ``<channel:channel>`` a channel that stands where
    ``/sd/<name:token>/info`` and its like have theirs: neither matches such a word.
    """
    parts = [route.rule.split("/")[1:] for route in routes]
    roots = {first for first, *_ in parts if "<" not in first}
    about_tokens = {each[2] for each in parts if len(each) == 3 and each[0] == "sd"}
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
            "root": _without(roots),
            "channel": _without(word for word in about_tokens if "<" not in word),
        },
        merge_slashes=False,
        redirect_defaults=False,
    )


def discover(package: str) -> list[Route]:
    """Return the ``ROUTES`` of every module of a package and of its sub-packages.

    They are sorted by rule and method, so that nothing depends on where a route is defined.
    """
    routes = [route for module in modules(package) for route in module.ROUTES]
    return sorted(routes, key=lambda route: (route.rule, route.method))
