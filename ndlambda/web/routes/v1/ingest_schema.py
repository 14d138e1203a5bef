"""JSON Schemas of ingest requests: ``GET /v1/ingest/schema/{job or manifest}``."""

from werkzeug.wrappers import Response

from ingest_queue.requests.schemas import SCHEMAS
from ndlambda.errors import NotFoundError
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import Context, Route


def get_schema(_: Context, schema: str) -> Response:
    """Return a schema; no key is needed, since it reveals no stored data."""
    if schema not in SCHEMAS:
        raise NotFoundError(f"There are the schemas {' and '.join(SCHEMAS)}.")
    answer = json_response(SCHEMAS[schema])
    answer.content_type = "application/schema+json"
    return answer


ROUTES = (
    Route(
        "GET",
        "/v1/ingest/schema/<segment:schema>",
        get_schema,
        "JSON Schema of a job configuration (job) or of _ingest.json (manifest)",
    ),
)
