"""Synapse graphs: ndstore's ``/ndgraph/{token}/{channel}/…``, and the v1 route."""

import re
from contextlib import ExitStack
from typing import Final

from werkzeug.wrappers import Response

from ndlambda.errors import PathSyntaxError, UnknownNameError
from ndlambda.services.volume.region import Region
from ndlambda.web.annotation.channel import Opened, open_annotations, open_labels
from ndlambda.web.problem import Dialect
from ndlambda.web.request.params import parse_region, region_of, region_of_query
from ndlambda.web.request.query import TIMED_BOX
from ndlambda.web.response.delivery import deliver
from ndlambda.web.routing import CHANNEL_RULE, Context, QueryParameter, Route
from ndlambda.wire.graph import GraphFormat, SynapseGraph, formats, get_format

_DEFAULT: Final = "graphml"
_UNSUPPORTED: Final = frozenset({"gpickle", "yaml"})
"""Formats that networkx dropped; a client that asks for a pickle cannot read GraphML instead."""
_DIRECTIONS: Final = ("none", "pre-post")
_RANGES: Final = frozenset("xyzt")
_RANGE: Final = "[0-9]+,[0-9]+"
_LEGACY: Final = re.compile(rf"(?:(?P<name>\w+)(?:/|$))?(?P<ranges>{_RANGE}/{_RANGE}/{_RANGE})?/?")
_MAX_LISTED: Final = 100
"""Most skipped synapse ids in a header."""


def get_legacy(context: Context, token: str, channel: str, wanted: str = "") -> Response:
    """Return the undirected graph as a file; an unknown format name means GraphML."""
    opened = open_annotations(context, token, channel)
    match = _LEGACY.fullmatch(wanted)
    if match is None:
        raise PathSyntaxError(
            "A graph is [FORMAT/][x0,x1/y0,y1/z0,z1/] in non-negative decimal integers.",
            path=wanted[:80],
        )
    word = match["name"] or _DEFAULT
    if word in _UNSUPPORTED:
        raise UnknownNameError("graph format", word, tuple(formats()))
    region = None
    if match["ranges"] is not None:
        arguments = parse_region(f"{opened.channel.resolution}/{match['ranges']}")
        region = region_of(opened.dataset, opened.channel, arguments)
    graph = context.runtime.annotation.graphs.build(opened.dataset, opened.channel, region)
    chosen = formats().get(word) or get_format(_DEFAULT)
    return _send(context, graph, chosen, "text/plain")


def get_graph(context: Context, token: str, channel: str) -> Response:
    """Return the graph of a channel, or of a box in it."""
    opened = open_labels(context, token, channel, _QUERIES)
    query = context.request.args
    chosen = get_format(query.get("format", _DEFAULT))
    direction = query.get("direction", "none")
    if direction not in _DIRECTIONS:
        raise UnknownNameError("direction", direction[:80], _DIRECTIONS)
    graph = context.runtime.annotation.graphs.build(
        opened.dataset,
        opened.channel,
        _region(context, opened),
        directed=direction == "pre-post",
    )
    return _send(context, graph, chosen, chosen.content_type)


def _region(context: Context, opened: Opened) -> Region | None:
    """Return the box that the query names at the channel's own resolution, or None for all."""
    ranges = {name: text for name, text in context.request.args.items() if name in _RANGES}
    if not ranges:
        return None
    words = {**ranges, "resolution": str(opened.channel.resolution)}
    region, _ = region_of_query(opened.dataset, opened.channel, words)
    return region


def _send(
    context: Context, graph: SynapseGraph, body_format: GraphFormat, content_type: str
) -> Response:
    headers = {"Content-Disposition": f"attachment; filename=output.{body_format.name}"}
    if graph.skipped:
        listed = ",".join(map(str, graph.skipped[:_MAX_LISTED]))
        suffix = ",..." if len(graph.skipped) > _MAX_LISTED else ""
        headers["X-NDLambda-Skipped"] = listed + suffix
        headers["X-NDLambda-Skipped-Count"] = str(len(graph.skipped))
    return deliver(context, body_format.encode(graph), content_type, headers, ExitStack())


_QUERIES: Final = (
    *TIMED_BOX[1:],
    QueryParameter("format", f"{', '.join(sorted(formats()))}; {_DEFAULT} if left out"),
    QueryParameter(
        "direction",
        "none: an edge between a synapse's two segments (the default); pre-post: from its "
        "presynaptic segment to each postsynaptic one",
    ),
)
_RULE: Final = "/ndgraph/<name:token>/<name:channel>"
_SUMMARY: Final = "Graph of segments and synapses; headers list synapses that form no edge"

ROUTES = (
    Route("GET", _RULE, get_legacy, _SUMMARY, Dialect.NDSTORE),
    Route("GET", f"{_RULE}/<path:wanted>", get_legacy, _SUMMARY, Dialect.NDSTORE),
    Route("GET", f"{CHANNEL_RULE}/graph", get_graph, _SUMMARY, query=_QUERIES),
)
