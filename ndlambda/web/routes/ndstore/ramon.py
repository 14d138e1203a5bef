"""ndstore's objects as JSON: ``/ramon/{token}/{channel}/…``."""

from typing import Final

from werkzeug.wrappers import Response

from ndlambda.errors import InvalidArgumentError
from ndlambda.model.ramon import parse_query
from ndlambda.model.ramon.flat import read_type
from ndlambda.services.annotation.options import TightBox
from ndlambda.web.annotation.channel import open_annotations
from ndlambda.web.annotation.ramon_body import JSON_FORM, send_objects
from ndlambda.web.problem import Dialect
from ndlambda.web.request.params import parse_ids
from ndlambda.web.response.delivery import deliver_json
from ndlambda.web.response.json import json_response
from ndlambda.web.routes.ndstore.annotation import get_json
from ndlambda.web.routing import Context, Route
from ndlambda.wire.ramon import get_format

_DEFAULT_KEYS: Final = 10
_MAX_KEYS: Final = 10_000


def get_boxes(
    context: Context, token: str, channel: str, ids: str, resolution: int | None = None
) -> Response:
    """Return objects as flat JSON, with the bounding boxes of those that have voxels."""
    opened = open_annotations(context, token, channel)
    at = opened.channel.resolution if resolution is None else resolution
    items = context.runtime.annotation.objects.read(
        opened.dataset, opened.channel, parse_ids(ids), TightBox(at)
    )
    return send_objects(context, items, get_format("json"))


def get_query(context: Context, token: str, channel: str, predicates: str) -> Response:
    """Return the ids of the objects that match all predicates as a JSON list."""
    opened = open_annotations(context, token, channel)
    query = parse_query(predicates.split("/"))
    ids = context.runtime.annotation.objects.query(opened.dataset, opened.channel, query)
    return deliver_json(context, ids)


def get_top_keys(
    context: Context,
    token: str,
    channel: str,
    count: int = _DEFAULT_KEYS,
    kind: int | None = None,
) -> Response:
    """Return the most frequent keys of key-value pairs as a JSON list, most frequent first."""
    opened = open_annotations(context, token, channel)
    if not 0 < count <= _MAX_KEYS:
        raise InvalidArgumentError(f"Ask for 1 to {_MAX_KEYS} keys.", limit=_MAX_KEYS)
    ramon_type = None if kind is None else read_type(kind, "type")
    found = context.runtime.annotation.ramon.top_keys(opened.channel, count, ramon_type)
    return json_response([key for key, _ in found])


_BASE: Final = "/ramon/<name:token>/<name:channel>"
_KEYS: Final = "Most frequent keys of key-value pairs"

ROUTES = (
    Route(
        "GET",
        f"{_BASE}/<ids:ids>",
        get_json,
        "Read objects as JSON",
        Dialect.NDSTORE,
        query=(JSON_FORM,),
    ),
    *(
        Route("GET", f"{_BASE}/{rest}", view, summary, Dialect.NDSTORE)
        for rest, view, summary in (
            ("<ids:ids>/boundingbox", get_boxes, "Read objects and their bounding boxes"),
            (
                "<ids:ids>/boundingbox/<number:resolution>",
                get_boxes,
                "Read objects and their bounding boxes at a resolution",
            ),
            ("query/<path:predicates>", get_query, "Ids of objects: KEY/VALUE/…"),
            ("topkeys", get_top_keys, f"{_KEYS}, ten"),
            ("topkeys/<number:count>", get_top_keys, _KEYS),
            ("topkeys/type/<number:kind>", get_top_keys, f"{_KEYS} of a type, ten"),
            ("topkeys/<number:count>/type/<number:kind>", get_top_keys, f"{_KEYS} of a type"),
        )
    ),
)
