"""Reports of source planes that cannot be read: ``POST /v1/ingest/{id}/errors``."""

from typing import Any

from werkzeug.wrappers import Response

from ingest_queue.requests.reading import REQUIRED, Keys, Problems, read_object
from ndlambda.errors import ValidationError
from ndlambda.model.readers import integer, text
from ndlambda.web.ingest.job import find_job
from ndlambda.web.problem import Dialect
from ndlambda.web.request.json_body import json_object
from ndlambda.web.routing import Context, Route

_MAX_FAULTS = 1000
_MAX_ERROR_LENGTH = 4000
_MAX_COORDINATE = 1 << 40

_FAULT: Keys = {
    "t": (integer(0, _MAX_COORDINATE), None),
    "slice": (integer(-_MAX_COORDINATE, _MAX_COORDINATE), REQUIRED),
    "error": (text(_MAX_ERROR_LENGTH), REQUIRED),
}


def report_errors(context: Context, job: str) -> Response:
    """Record planes that cannot be read; if the job's policy is to fail, this ends the job."""
    found = find_job(context, job)
    found.check_takes_input()
    for fault in _read(json_object(context.request)):
        time_point = found.times[0] if fault["t"] is None else fault["t"]
        context.runtime.ingest.jobs.refuse_plane(found, time_point, fault["slice"], fault["error"])
    return Response(status=204)


def _read(doc: dict[str, Any]) -> list[dict[str, Any]]:
    problems, listed = Problems(), doc.get("errors")
    if not isinstance(listed, list) or not 0 < len(listed) <= _MAX_FAULTS or len(doc) > 1:
        raise ValidationError({"errors": f"must be a list of 1 to {_MAX_FAULTS}, the only field"})
    faults = [
        read_object(fault, _FAULT, f"errors[{index}]", problems)
        for index, fault in enumerate(listed)
    ]
    problems.check()
    return faults


ROUTES = (
    Route(
        "POST",
        "/v1/ingest/<segment:job>/errors",
        report_errors,
        "Report planes that cannot be read at their source",
        dialect=Dialect.V1,
        body='{"errors": [{"slice": 66, "error": "…", "t": 0}, …]}: dataset z; t may be left out',
    ),
)
