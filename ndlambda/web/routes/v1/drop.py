"""Folders of dropped files without a job, and those of deleted channels: ``/v1/drop``."""

from werkzeug.wrappers import Response

from ndlambda.web.response.json import json_response
from ndlambda.web.routing import Context, Route


def list_waiting(context: Context) -> Response:
    """List folders without a job, and what is set aside, for the user who owns dropped files."""
    runtime, principal = context.runtime, context.principal
    runtime.access.owner_id_of(principal)  # refuses a caller without a key
    may_see = principal.superuser or runtime.access.may_manage(
        principal, runtime.ingest.drop.owner_id
    )
    drop = runtime.ingest.drop
    waiting = drop.waiting.all() if may_see else ()
    aside = drop.retired.set_aside() if may_see else ()
    return json_response(
        {
            "waiting": [
                {"folder": each.folder, "why": each.why, "since": each.since} for each in waiting
            ],
            "deleted": [
                {"folder": each.folder, "where": each.where, "since": each.since} for each in aside
            ],
        }
    )


ROUTES = (Route("GET", "/v1/drop", list_waiting, "Folders of dropped files without a job"),)
