"""What the server says of itself: start page, health, API document, limits, large results."""

from functools import cache
from html import escape
from importlib import resources
from string import Template

from werkzeug.wrappers import Response

from ndlambda import __version__
from ndlambda.errors import NotFoundError
from ndlambda.web.delivery import RESULTS_PREFIX, is_result
from ndlambda.web.json_body import json_response
from ndlambda.web.routing import Context, Route

_EMPTY = "<p>None yet. <code>ndlambda put FOLDER --token T --channel C --create --public</code></p>"
_HEADINGS = "<tr><th>token</th><th>voxels (x × y × z)</th><th>channels</th></tr>"
_SHOWN = 50


@cache
def _page() -> Template:
    return Template(resources.files("ndlambda.web").joinpath("pages/start.html").read_text("utf-8"))


def get_page(context: Context) -> Response:
    """Show a small page for somebody who opened the server in a browser."""
    catalog = context.runtime.catalog
    rows = []
    for name in catalog.lists.public_tokens()[:_SHOWN]:
        try:
            view = catalog.project_view(name)
        except NotFoundError:  # deleted since the list was read
            continue
        size = " × ".join(map(str, view.dataset.imagesize_xyz))
        channels = ", ".join(channel.name for channel in view.channels)
        link = f'<a href="/sd/{escape(name)}/info/">{escape(name)}</a>'
        rows.append(f"<tr><td>{link}</td><td>{size}</td><td>{escape(channels)}</td></tr>")
    table = f"<table>{_HEADINGS}{''.join(rows)}</table>"
    page = _page().substitute(
        version=__version__,
        volumes=table if rows else _EMPTY,
        root=escape(context.request.root_url.rstrip("/")),
    )
    return Response(page, content_type="text/html; charset=utf-8")


def get_health(context: Context) -> Response:
    """Tell that the process answers."""
    return json_response({"status": "ok", "version": __version__})


def get_openapi(context: Context) -> Response:
    """Give the OpenAPI document."""
    return Response(context.app.openapi, content_type="application/json")


def get_server(context: Context) -> Response:
    """Give what a client should know: limits, and who the key says it is."""
    settings = context.runtime.settings
    return json_response(
        {
            "version": __version__,
            "limits": {
                "cutout_voxels": settings.cutout_voxels,
                "body_bytes": settings.max_body_bytes if settings.lambda_limits else None,
                "upload_bytes": settings.body_bytes,
            },
            "user": context.principal.name,
            "superuser": context.principal.superuser,
        }
    )


def get_result(context: Context, name: str) -> Response:
    """Give a large result by the unguessable name that a 303 told (stores without URLs)."""
    stored = context.runtime.objects.get(RESULTS_PREFIX + name) if is_result(name) else None
    if stored is None:
        raise NotFoundError("No such result; they expire after a day. Ask for the box again.")
    return Response(
        bytes(stored.data),
        content_type="application/octet-stream",
        headers={"Cache-Control": "no-store"},
    )


ROUTES = (
    Route("GET", "/", get_page, "A page for people"),
    Route("GET", "/healthz", get_health, "Whether the server answers"),
    Route("GET", "/openapi.json", get_openapi, "This document"),
    Route("GET", "/v1/server", get_server, "Version, limits, and who asks"),
    Route("GET", "/v1/results/<segment:name>", get_result, "A result too large for its request"),
)
