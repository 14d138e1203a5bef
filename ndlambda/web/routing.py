"""The route table: what a route is, how paths are normalised, and how tables are discovered."""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from werkzeug.routing import BaseConverter, Map, Rule
from werkzeug.wrappers import Request, Response

from ndlambda.model.principal import Principal
from ndlambda.web.problem import Dialect

if TYPE_CHECKING:
    from ndlambda.runtime import Runtime
    from ndlambda.web.app import App

_PREFIXES = frozenset({"nd", "ocp"})
_SAME = {"ca": "sd", "ocpca": "sd", "tilecache": "catmaid"}


def normalise(path: str) -> str:
    """Give the one path of the many that ndstore's clients send for it.

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
    app
        The application that answers, for views that describe it.
    """

    request: Request
    runtime: "Runtime"
    principal: Principal
    request_id: str
    path: str
    app: "App"


View = Callable[..., Response]


@dataclass(frozen=True, slots=True)
class Query:
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
    """

    method: str
    rule: str
    view: View
    summary: str
    dialect: Dialect = Dialect.V1
    query: Sequence[Query] = ()
    body: str = ""


class NameConverter(BaseConverter):
    """A name as ndstore routes it: letters, digits, underscore."""

    regex = r"\w+"


class NamesConverter(BaseConverter):
    """One or several channel names joined by commas."""

    regex = r"[\w,]+"


class SegmentConverter(BaseConverter):
    """Any single segment, so that a bad name is answered by validation and not by 404."""

    regex = r"[^/]+"


class RangeConverter(BaseConverter):
    """``a,b`` in decimal digits."""

    regex = r"\d+,\d+"


def build_map(routes: Sequence[Route]) -> Map:
    """Give the werkzeug map of a route table; endpoints are ``Route`` objects.

    Paths are matched without their final slash.
    """
    return Map(
        [Rule(route.rule, endpoint=route, methods=[route.method]) for route in routes],
        converters={
            "name": NameConverter,
            "names": NamesConverter,
            "segment": SegmentConverter,
            "range": RangeConverter,
        },
        merge_slashes=False,
        redirect_defaults=False,
    )


def discover(package: str) -> Iterator[Route]:
    """Iterate over the ``ROUTES`` of every module of a package, in order of module name."""
    parent: Any = importlib.import_module(package)
    for info in sorted(pkgutil.iter_modules(parent.__path__), key=lambda item: item.name):
        module: Any = importlib.import_module(f"{package}.{info.name}")
        yield from module.ROUTES
