"""autoIngest: creates a volume from a description and fetches its slices from their source.

ndstore's route always answers a JSON string; ``/v1/auto-ingest`` answers the jobs.
"""

from werkzeug.wrappers import Response

from ingest_queue.fetch.request import AutoIngest
from ingest_queue.jobs.job import Job
from ndlambda.errors import (
    ConflictError,
    InvalidArgumentError,
    NDLambdaError,
    ValidationError,
    WriteContentionError,
)
from ndlambda.web.ingest.job import find_target, job_fields
from ndlambda.web.problem import Dialect, status_of
from ndlambda.web.request.json_body import json_object
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import Context, Route

_SUCCESS = "SUCCESS. The ingest process has now started."
_FAILED = "FAILED. There was an error in the information you posted."


def _create_jobs(context: Context) -> list[Job]:
    runtime = context.runtime
    owner_id = runtime.access.owner_id_of(context.principal)
    request = AutoIngest.read(
        json_object(context.request), owner_id, runtime.ingest.fetcher.files.check
    )
    return runtime.ingest.creation.run(request, context.principal)


def auto_ingest(context: Context) -> Response:
    """Create a volume and start to fetch it; errors are reported in ndstore's form."""
    try:
        _create_jobs(context)
    except WriteContentionError:
        raise
    except (InvalidArgumentError, ConflictError, ValidationError) as error:
        status = status_of(type(error), Dialect.RESOURCE)
        return json_response(_text(error), status)
    return json_response(_SUCCESS)


def _text(error: NDLambdaError) -> str:
    """Return an error's text; a validation error starts with the text that clients compare."""
    if isinstance(error, ValidationError):
        return f"{_FAILED} {error.message}"
    return error.message


def post_auto_ingest(context: Context) -> Response:
    """Create a volume, start to fetch it, and return the jobs."""
    jobs = _create_jobs(context)
    shown = {job.channel: job_fields(job, find_target(context, job)) for job in jobs}
    return json_response({"jobs": shown}, 201)


_BODY = '{"dataset": {…}, "project": {…}, "channels": {name: {…}}, "metadata": …}'
_SUMMARY = "Create a volume and fetch its slices from http(s), S3 or a folder"

ROUTES = (
    *(
        Route("POST", rule, auto_ingest, _SUMMARY, dialect=Dialect.RESOURCE, body=_BODY)
        for rule in ("/sd/autoIngest", "/sd/json")
    ),
    Route("POST", "/v1/auto-ingest", post_auto_ingest, _SUMMARY, body=_BODY),
)
