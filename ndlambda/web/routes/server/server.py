"""Start page, health, OpenAPI document, limits, and large results."""

from werkzeug.wrappers import Response

from ndlambda import __version__
from ndlambda.web.openapi import openapi_document
from ndlambda.web.pages.start import get_page
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import Context, Route


def get_health(context: Context) -> Response:
    """Return that the process is up, and its stores are there."""
    context.runtime.resources.check()
    return json_response({"status": "ok", "version": __version__})


def get_openapi(context: Context) -> Response:
    """Return the OpenAPI document."""
    return json_response(openapi_document(context.routes))


def get_server(context: Context) -> Response:
    """Return what a client needs to know: limits, and the user of its key."""
    settings = context.runtime.settings
    return json_response(
        {
            "version": __version__,
            "limits": {
                "cutout_voxels": settings.max_cutout_voxels,
                "body_bytes": settings.max_request_bytes if settings.lambda_limits else None,
                "upload_bytes": settings.max_body_bytes,
            },
            "user": context.principal.name,
            "superuser": context.principal.superuser,
        }
    )


def get_result(context: Context, name: str) -> Response:
    """Return a large result by the unguessable name from a 303 (for stores without URLs)."""
    return Response(
        bytes(context.runtime.results.read(name)),
        content_type="application/octet-stream",
        headers={"Cache-Control": "no-store", "Content-Disposition": "attachment"},
    )


ROUTES = (
    Route("GET", "/", get_page, "Start page"),
    Route("GET", "/healthz", get_health, "Whether the server is up and its stores are there"),
    Route("GET", "/openapi.json", get_openapi, "This document"),
    Route("GET", "/v1/server", get_server, "Version, limits, and the caller's user"),
    Route("GET", "/v1/results/<segment:name>", get_result, "A result too large for its request"),
)
