"""Folders of dropped files of which no job could be made yet: ``/v1/drop``."""

from werkzeug.wrappers import Response

from ndlambda.web.response.json import json_response
from ndlambda.web.routing import Context, Route


def list_waiting(context: Context) -> Response:
    """List folders that are no jobs yet, and why: to the user to whom what is dropped belongs."""
    runtime, principal = context.runtime, context.principal
    runtime.access.owner_id_of(principal)  # nothing is told to nobody
    may_see = principal.superuser or runtime.access.may_manage(
        principal, runtime.ingest.drop.owner_id
    )
    waiting = runtime.ingest.drop.waiting.all() if may_see else ()
    return json_response(
        {
            "waiting": [
                {"folder": each.folder, "why": each.why, "since": each.since} for each in waiting
            ]
        }
    )


ROUTES = (Route("GET", "/v1/drop", list_waiting, "Folders of dropped files that are no jobs yet"),)
