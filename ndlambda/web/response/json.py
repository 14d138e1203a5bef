"""JSON responses."""

import json

from werkzeug.wrappers import Response


def json_response(value: object, status: int = 200) -> Response:
    """Return a JSON response."""
    return Response(json.dumps(value), status=status, content_type="application/json")
