"""Skeletons as SWC: ndstore's ``/sd/{token}/{channel}/swc/[{ids}/]``, and the v1 routes."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from werkzeug.wrappers import Response

from ndlambda.model.catalog import Channel
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.web.annotation.ramon_body import read_body
from ndlambda.web.problem import Dialect
from ndlambda.web.request.params import parse_ids
from ndlambda.web.request.query import check_parameters
from ndlambda.web.response.delivery import deliver
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import CHANNEL_RULE, Context, QueryParameter, Route
from ndlambda.wire.skeleton.swc import read_swc, write_swc

_MAX_BODY_BYTES: Final = 32 << 20
_NODE_BYTES_PER_TEXT_BYTE: Final = 16
"""Approximate memory of parsed nodes per byte of SWC text."""
_SWC: Final = "product/swc"
_PLAIN: Final = "text/plain; charset=utf-8"
_IDS: Final = QueryParameter("ids", "ids of skeletons joined by commas; all if left out")


def get_legacy(
    context: Context, token: str, channel: str, skeleton_ids: str | None = None
) -> Response:
    """Return the given skeletons, or all of the channel, as a file."""
    view, chosen = _open(context, token, channel)
    ids = None if skeleton_ids is None else parse_ids(skeleton_ids)
    headers = {"Content-Disposition": f"attachment; filename={token}_{channel}.swc"}
    return _send(context, view, chosen, ids, (_SWC, headers))


def post_legacy(context: Context, token: str, channel: str) -> Response:
    """Store the trees of a file as new skeletons and return their ids."""
    _, chosen = _open(context, token, channel, write=True)
    ids = _store(context, chosen)
    return Response(",".join(map(str, ids)), content_type="text/html")


def get_skeletons(context: Context, token: str, channel: str) -> Response:
    """Return the given skeletons, or all of the channel, as SWC."""
    view, chosen = _open(context, token, channel)
    check_parameters(context.request, (_IDS,))
    requested = context.request.args.get("ids")
    ids = None if requested is None else parse_ids(requested)
    return _send(context, view, chosen, ids, (_PLAIN, {}))


def post_skeletons(context: Context, token: str, channel: str) -> Response:
    """Store the trees of an SWC file as new skeletons."""
    _, chosen = _open(context, token, channel, write=True)
    check_parameters(context.request, ())
    return json_response({"ids": _store(context, chosen)}, 201)


def _open(
    context: Context, token: str, channel: str, *, write: bool = False
) -> tuple[ProjectView, Channel]:
    return context.runtime.access.open_channel(token, channel, context.principal, write=write)


def _store(context: Context, channel: Channel) -> list[int]:
    body = read_body(context, _MAX_BODY_BYTES)
    with context.runtime.volume.budget.hold(_NODE_BYTES_PER_TEXT_BYTE * len(body)):
        return context.runtime.annotation.skeletons.upload(channel, read_swc(body))


def _send(
    context: Context,
    view: ProjectView,
    channel: Channel,
    ids: Sequence[int] | None,
    answer: tuple[str, dict[str, str]],
) -> Response:
    project = view.project
    swc = context.runtime.annotation.skeletons.read(channel, ids)
    body = write_swc(
        swc,
        (
            f"# ND (NeuroData) Version {project.nd_version} Schema {project.schema_version}",
            f"# Project {project.name} Channel {channel.name}",
        ),
    )
    content_type, headers = answer
    return deliver(context, body, content_type, headers, ExitStack())


_LEGACY: Final = "/sd/<name:token>/<channel:channel>/swc"
_BODY: Final = "SWC: comments, and a line 'n T x y z R P' a node; P is -1 at the root of a tree"

ROUTES = (
    Route("GET", _LEGACY, get_legacy, "All skeletons as SWC", Dialect.NDSTORE_SWC),
    Route(
        "GET",
        f"{_LEGACY}/<ids:skeleton_ids>",
        get_legacy,
        "Skeletons as SWC",
        Dialect.NDSTORE_SWC,
    ),
    Route(
        "POST",
        _LEGACY,
        post_legacy,
        "Store the trees of an SWC file as skeletons",
        Dialect.NDSTORE_SWC,
        body=_BODY,
    ),
    Route("GET", f"{CHANNEL_RULE}/skeletons", get_skeletons, "Skeletons as SWC", query=(_IDS,)),
    Route(
        "POST",
        f"{CHANNEL_RULE}/skeletons",
        post_skeletons,
        "Store the trees of an SWC file as skeletons; 201 with their ids",
        body=_BODY,
    ),
)
