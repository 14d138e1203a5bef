"""ndstore's object queries: query, getField, setField, and one object as CSV."""

from contextlib import ExitStack
from typing import Final

from werkzeug.wrappers import Response

from ndlambda.model.ramon import parse_query
from ndlambda.services.annotation.options import TightBox
from ndlambda.services.volume.region import Region
from ndlambda.web.annotation.channel import Opened, open_annotations
from ndlambda.web.annotation.ramon_body import read_body, send_objects
from ndlambda.web.problem import Dialect
from ndlambda.web.request.params import region_of_corner
from ndlambda.web.response.delivery import deliver
from ndlambda.web.routing import Context, Route
from ndlambda.wire.ramon import get_format
from ndlambda.wire.ramon.hdf5_decode import decode_region
from ndlambda.wire.ramon.hdf5_encode import encode_ids

_MAX_REGION_BYTES: Final = 1 << 20


def get_query(context: Context, token: str, channel: str, predicates: str = "") -> Response:
    """Return the ids of the objects that match all predicates."""
    opened = open_annotations(context, token, channel)
    return _answer(context, opened, predicates, None)


def post_query(context: Context, token: str, channel: str, predicates: str = "") -> Response:
    """Return the ids of the matching objects that have voxels in the region of the body."""
    opened = open_annotations(context, token, channel)
    region = region_of_corner(
        opened.dataset, opened.channel, *decode_region(read_body(context, _MAX_REGION_BYTES))
    )
    return _answer(context, opened, predicates, region)


def _answer(context: Context, opened: Opened, predicates: str, region: Region | None) -> Response:
    query = parse_query(predicates.split("/") if predicates else [])
    ids = context.runtime.annotation.objects.query(opened.dataset, opened.channel, query, region)
    return deliver(context, encode_ids(ids), "product/hdf5", {}, ExitStack())


def get_field(context: Context, token: str, channel: str, number: int, field: str) -> Response:
    """Return a field, a derived list or a key-value pair of one object as text."""
    opened = open_annotations(context, token, channel)
    text = context.runtime.annotation.ramon.get_field(opened.channel, number, field)
    return Response(text, content_type="text/html; charset=utf-8")


def set_field(
    context: Context, token: str, channel: str, number: int, *, field: str, value: str
) -> Response:
    """Set a field or a key-value pair of one object."""
    opened = open_annotations(context, token, channel, write=True)
    context.runtime.annotation.ramon.set_field(opened.channel, number, field, value)
    return Response(status=200, content_type="text/html")


def get_csv(
    context: Context, token: str, number: int, resolution: int, channel: str | None = None
) -> Response:
    """Return an object and its bounding box as lines ``FIELD,value``."""
    opened = open_annotations(context, token, channel)
    context.runtime.annotation.ramon.get(opened.channel, number)  # a label alone has no fields
    items = context.runtime.annotation.objects.read(
        opened.dataset, opened.channel, [number], TightBox(resolution)
    )
    return send_objects(context, items, get_format("csv"))


_BASE: Final = "/sd/<name:token>/<channel:channel>"
_REGION: Final = "RESOLUTION, XYZOFFSET and CUTOUTSIZE as HDF5"

ROUTES = (
    *(
        Route(method, f"{base}/query{rest}", view, summary, Dialect.NDSTORE, body=body)
        # The releases of ndio that support RAMON omit sd/.
        for base in (_BASE, "/<root:token>/<channel:channel>")
        for rest in ("", "/<path:predicates>")
        for method, view, summary, body in (
            ("GET", get_query, "Ids of objects: type/4/confidence/lt/0.5/KEY/VALUE/limit/10", ""),
            ("POST", post_query, "Ids of the matching objects in a region", _REGION),
        )
    ),
    Route(
        "GET",
        f"{_BASE}/getField/<number:number>/<segment:field>",
        get_field,
        "Text of a field, a derived list or a key-value pair",
        Dialect.NDSTORE,
    ),
    Route(
        "GET",
        f"{_BASE}/setField/<number:number>/<segment:field>/<segment:value>",
        set_field,
        "Set a field or a key-value pair",
        Dialect.NDSTORE,
        changes=True,
    ),
    *(
        Route(
            "GET",
            f"{base}/csv/<number:number>/<number:resolution>",
            get_csv,
            "An object with its bounding box as CSV",
            Dialect.NDSTORE,
        )
        for base in ("/sd/<name:token>", _BASE)  # ndstore's path names no channel
    ),
)
