"""What the owner of a source cannot read: ``POST /v1/ingest/{id}/errors``."""

from typing import Any

from werkzeug.wrappers import Response

from ingest_queue.requests.reading import REQUIRED, Keys, Problems, read_object
from ndlambda.errors import ValidationError
from ndlambda.model.readers import integer, text
from ndlambda.web.ingest.job import find_job
from ndlambda.web.problem import Dialect
from ndlambda.web.request.json_body import json_object
from ndlambda.web.routing import Context, Route

_MOST = 1000
_LONGEST = 4000
_LARGEST = 1 << 40

_FAULT: Keys = {
    "t": (integer(0, _LARGEST), None),
    "slice": (integer(-_LARGEST, _LARGEST), REQUIRED),
    "error": (text(_LONGEST), REQUIRED),
}


def report_errors(context: Context, job: str) -> Response:
    """Record planes that cannot be read; where the policy is to fail, the job ends of them."""
    found = find_job(context, job)
    found.check_takes_input()
    for fault in _read(json_object(context.request)):
        time_point = found.times[0] if fault["t"] is None else fault["t"]
        context.runtime.ingest.jobs.refuse_plane(found, time_point, fault["slice"], fault["error"])
    return Response(status=204)


def _read(doc: dict[str, Any]) -> list[dict[str, Any]]:
    problems, listed = Problems(), doc.get("errors")
    if not isinstance(listed, list) or not 0 < len(listed) <= _MOST or len(doc) > 1:
        raise ValidationError({"errors": f"must be a list of 1 to {_MOST}, and all there is"})
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
        "Report planes that cannot be read where they come from",
        dialect=Dialect.V1,
        body='{"errors": [{"slice": 66, "error": "…", "t": 0}, …]}: dataset z; t may be left out',
    ),
)
