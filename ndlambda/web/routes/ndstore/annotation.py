"""ndstore's annotation objects: ``/sd/{token}/{channel}/[{ids}|{options}]/…``, HDF5 and JSON."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Final

from werkzeug.wrappers import Response

from ndlambda.errors import InvalidArgumentError, PathSyntaxError, UnknownNameError
from ndlambda.services.annotation.options import (
    Cuboids,
    NoData,
    RegionCutout,
    TightBox,
    TightCutout,
    Voxels,
    Wanted,
    WriteMode,
)
from ndlambda.web.annotation.channel import Opened, open_annotations
from ndlambda.web.annotation.ramon_body import (
    JSON_FORM,
    json_format,
    open_objects,
    read_objects,
    read_one_object,
    send_objects,
)
from ndlambda.web.problem import Dialect
from ndlambda.web.request.body import UPLOAD
from ndlambda.web.request.params import parse_ids, parse_region, parse_resolution, region_of
from ndlambda.web.routing import Context, Route
from ndlambda.wire.ramon import get_format

_HTML: Final = "text/html"
_AT_RESOLUTION: Final[Mapping[str, Callable[[int], Wanted]]] = {
    "voxels": Voxels,
    "cutout": TightCutout,
    "boundingbox": TightBox,
    "cuboids": Cuboids,
}
_OPTIONS: Final = ("nodata", *_AT_RESOLUTION)


def get_objects(
    context: Context, token: str, channel: str, ids: str, options: str = ""
) -> Response:
    """Return objects as HDF5, with the voxel data that the options select."""
    opened = open_annotations(context, token, channel)
    wanted = _wanted(opened, options)
    items = context.runtime.annotation.objects.read(
        opened.dataset, opened.channel, parse_ids(ids), wanted
    )
    return send_objects(context, items, get_format("hdf5"))


def _wanted(opened: Opened, options: str) -> Wanted:
    """Read ``nodata``, ``{voxels|cutout|boundingbox|cuboids}/R`` or ``cutout/R/x,x/y,y/z,z``."""
    word, _, rest = options.partition("/")
    if word in {"", "nodata"}:
        if rest:
            raise PathSyntaxError(f"Nothing comes behind {word}.", path=options[:80])
        return NoData()
    if word not in _AT_RESOLUTION:
        raise UnknownNameError("option", word[:80], _OPTIONS)
    if word == "cutout" and "/" in rest:
        region = region_of(opened.dataset, opened.channel, parse_region(rest))
        return RegionCutout(region)
    return _AT_RESOLUTION[word](parse_resolution(rest))


def get_json(context: Context, token: str, channel: str, ids: str) -> Response:
    """Return objects without voxels as JSON, flat or in the older form."""
    opened = open_annotations(context, token, channel)
    body_format = json_format(context)
    items = context.runtime.annotation.objects.read(
        opened.dataset, opened.channel, parse_ids(ids), NoData()
    )
    return send_objects(context, items, body_format)


def post_objects(context: Context, token: str, channel: str, words: str = "") -> Response:
    """Store objects, paint their voxels as the options say, and return their ids."""
    opened = open_annotations(context, token, channel, write=True)
    options = words.split("/") if words else []
    mode = WriteMode.from_words(word for word in options if word != "json")
    if "json" in options:
        return _post_json(context, opened, mode)
    request_body = open_objects(context, opened.channel)
    with ExitStack() as held:
        items = read_objects(request_body, get_format("hdf5"), held)
        ids = context.runtime.annotation.objects.upload(opened.dataset, opened.channel, items, mode)
    request_body.discard()
    return Response(",".join(map(str, ids)), content_type=_HTML)


def _post_json(context: Context, opened: Opened, mode: WriteMode) -> Response:
    if mode.data_only:
        raise InvalidArgumentError("JSON has no voxels; dataonly and reduce are for HDF5.")
    item = read_one_object(context, json_format(context))
    (stored_id,) = context.runtime.annotation.objects.upload(
        opened.dataset, opened.channel, [item], mode
    )
    return Response(str(stored_id), content_type=_HTML)


def delete_objects(context: Context, token: str, channel: str, ids: str) -> Response:
    """Delete objects with their voxels; unknown ids are ignored."""
    opened = open_annotations(context, token, channel, write=True)
    context.runtime.annotation.objects.delete(opened.channel, parse_ids(ids))
    return Response("Success", content_type=_HTML)


def _routes(base: str) -> tuple[Route, ...]:
    ids = f"{base}/<ids:ids>"
    hdf5 = "Objects as HDF5, a group an object"
    stored = "Store objects and paint their voxels"
    return (
        Route("GET", ids, get_objects, "Read objects without voxels", Dialect.NDSTORE),
        Route(
            "GET",
            f"{ids}/<path:options>",
            get_objects,
            "Read objects: nodata, voxels/R, cutout/R[/x,x/y,y/z,z], boundingbox/R, cuboids/R",
            Dialect.NDSTORE,
        ),
        Route(
            "GET",
            f"{ids}/json",
            get_json,
            "Read objects as JSON",
            Dialect.NDSTORE,
            query=(JSON_FORM,),
        ),
        Route("DELETE", ids, delete_objects, "Delete objects and their voxels", Dialect.NDSTORE),
        Route(
            "POST",
            f"{base}/<words:words>",
            post_objects,
            f"{stored}: overwrite, preserve, exception, update, dataonly, reduce; json",
            Dialect.NDSTORE,
            query=(JSON_FORM, UPLOAD),
            body=f"{hdf5}; with json, one object as JSON",
        ),
    )


ROUTES = (
    *_routes("/sd/<name:token>/<channel:channel>"),
    # The releases of ndio that support RAMON omit sd/.
    *_routes("/<root:token>/<channel:channel>"),
    Route(
        "POST",
        "/sd/<name:token>/<channel:channel>",
        post_objects,
        "Store objects and paint their voxels",
        Dialect.NDSTORE,
        query=(UPLOAD,),
        body="Objects as HDF5, a group an object",
    ),
)
