"""ndstore's label ids: look-up at a voxel or in a region, extra labels, reserving, merging."""

from contextlib import ExitStack
from typing import Final

from werkzeug.wrappers import Response

from ndlambda.web.annotation.channel import open_annotations
from ndlambda.web.problem import Dialect
from ndlambda.web.request.params import absolute_points, parse_ids, parse_region, region_of
from ndlambda.web.response.delivery import deliver
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import Context, Route
from ndlambda.wire.ramon.hdf5_exceptions import encode_exceptions

_HTML: Final = "text/html"


def get_label(
    context: Context, token: str, resolution: int, *, channel: str | None = None, **at: int
) -> Response:
    """Return the label of one voxel as text; ``0`` if it has none."""
    opened = open_annotations(context, token, channel)
    label = context.runtime.annotation.objects.label_at(
        opened.dataset, opened.channel, resolution, (at["x"], at["y"], at["z"]), at.get("time")
    )
    return Response(str(label), content_type=_HTML)


def get_labels(context: Context, token: str, args: str, channel: str | None = None) -> Response:
    """Return the labels in a region as text ``1, 2, 3``; empty if there are none."""
    opened = open_annotations(context, token, channel)
    region = region_of(opened.dataset, opened.channel, parse_region(args))
    labels = context.runtime.annotation.objects.labels_in(opened.dataset, opened.channel, region)
    return deliver(context, ", ".join(map(str, labels)).encode(), _HTML, {}, ExitStack())


def get_exceptions(context: Context, token: str, args: str, channel: str | None = None) -> Response:
    """Return the voxels of a region that have several labels as HDF5."""
    opened = open_annotations(context, token, channel)
    region = region_of(opened.dataset, opened.channel, parse_region(args))
    found = context.runtime.annotation.objects.exceptions(opened.channel, region)
    body = encode_exceptions(absolute_points(region, found.points_xyz), found.labels)
    return deliver(context, body, "product/hdf5", {}, ExitStack())


def reserve_ids(context: Context, token: str, channel: str, count: int) -> Response:
    """Reserve consecutive ids and return ``[first, count]``."""
    opened = open_annotations(context, token, channel, write=True)
    first = context.runtime.annotation.objects.reserve(opened.channel, count)
    return json_response([first, count])


def merge_everywhere(
    context: Context, token: str, channel: str, ids: str, resolution: int | None = None
) -> Response:
    """Merge objects into the first, at all resolutions, or relabel one resolution only."""
    opened = open_annotations(context, token, channel, write=True)
    merged = parse_ids(ids)
    context.runtime.annotation.objects.merge(
        opened.dataset, opened.channel, merged, resolution=resolution
    )
    return _merged(merged)


def merge_in_region(context: Context, token: str, channel: str, ids: str, args: str) -> Response:
    """Relabel the objects' voxels inside a region with the first id; the objects stay."""
    opened = open_annotations(context, token, channel, write=True)
    region = region_of(opened.dataset, opened.channel, parse_region(args))
    merged = parse_ids(ids)
    context.runtime.annotation.objects.merge(opened.dataset, opened.channel, merged, region=region)
    return _merged(merged)


def _merged(ids: list[int]) -> Response:
    survivor = ids[0]
    losers = [each for each in ids if each != survivor]
    return Response(f"Merged Id's {losers} into {survivor}", content_type=_HTML)


_BASE: Final = "/sd/<name:token>/<channel:channel>"
_VOXEL: Final = "id/<number:resolution>/<number:x>/<number:y>/<number:z>"

ROUTES = (
    # ndstore took a path without a channel to mean the default channel.
    *(
        Route(method, rule, view, summary, Dialect.NDSTORE)
        for base in (_BASE, "/sd/<name:token>")
        for method, rule, view, summary in (
            ("GET", f"{base}/{_VOXEL}", get_label, "Label of a voxel"),
            ("GET", f"{base}/{_VOXEL}/<number:time>", get_label, "Label of a voxel at a time"),
            ("GET", f"{base}/ids/<path:args>", get_labels, "Labels in a region"),
            (
                "GET",
                f"{base}/exceptions/<path:args>",
                get_exceptions,
                "Voxels of a region with several labels, as HDF5",
            ),
        )
    ),
    # ndstore reserved ids by POST; every release of ndio uses GET, the older ones without sd/.
    *(
        Route(
            method,
            f"{base}/reserve/<number:count>",
            reserve_ids,
            "Reserve ids",
            Dialect.NDSTORE,
            changes=True,
        )
        for base in (_BASE, "/<root:token>/<channel:channel>")
        for method in ("GET", "POST")
    ),
    *(
        Route("POST", f"{_BASE}/merge/<ids:ids>{rest}", view, summary, Dialect.NDSTORE)
        for rest, view, summary in (
            ("/global", merge_everywhere, "Merge objects into the first"),
            (
                "/global/<number:resolution>",
                merge_everywhere,
                "Merge objects into the first, relabelling one resolution",
            ),
            ("/<path:args>", merge_in_region, "Merge objects into the first inside a region"),
        )
    ),
)
