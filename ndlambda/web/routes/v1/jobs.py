"""Jobs of all kinds: ``/v1/jobs``. One's own; superusers see all, and the dead letters."""

from datetime import UTC, datetime
from typing import Any

from werkzeug.wrappers import Response

from ndlambda.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError
from ndlambda.services.jobs.contract import JobStatus, JobView
from ndlambda.web.request.query import check_parameters, read_integer
from ndlambda.web.response.delivery import deliver_json
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import Context, QueryParameter, Route

_MAX_JOBS = 1000
_MAX_DEAD = 100

_LIMIT = QueryParameter("limit", f"jobs in one response; {_MAX_JOBS} if left out, and at most")
_LIST = (
    _LIMIT,
    QueryParameter("after", "the position after which to start: `next` of the previous response"),
    QueryParameter("state", f"only of this state: {', '.join(JobStatus)}"),
    QueryParameter("kind", "only of this kind: ingest, propagation, deletion, merge"),
)
_DEAD = (
    QueryParameter("limit", f"messages in one response; {_MAX_DEAD} if left out, and at most"),
)


def list_jobs(context: Context) -> Response:
    """List jobs, newest first; a page may be short where only some states are asked for."""
    check_parameters(context.request, _LIST)
    args = context.request.args
    owner_id = context.runtime.access.owner_id_of(context.principal)
    page = context.runtime.jobs.page(
        None if context.principal.superuser else owner_id,
        limit=_limit(context, _MAX_JOBS),
        after=args.get("after", ""),
        state=_state(args.get("state")),
        kind=args.get("kind"),
    )
    return deliver_json(context, {"jobs": [_fields(job) for job in page.jobs], "next": page.next})


def get_job(context: Context, job: str) -> Response:
    """Return a job."""
    return json_response(_fields(_find(context, job)))


def retry_job(context: Context, job: str) -> Response:
    """Let a job go on that failed."""
    return json_response(_fields(context.runtime.jobs.retry(_find(context, job).id)), 202)


def cancel_job(context: Context, job: str) -> Response:
    """End a job before it is done; what it did stays."""
    return json_response(_fields(context.runtime.jobs.cancel(_find(context, job).id)), 202)


def list_dead(context: Context) -> Response:
    """List messages that failed too often (superusers)."""
    check_parameters(context.request, _DEAD)
    _check_superuser(context)
    dead = [
        {"queue": queue, "id": message.id, "body": message.body, "tries": message.receive_count}
        for queue, message in context.runtime.jobs.dead_letters(_limit(context, _MAX_DEAD))
    ]
    return deliver_json(context, {"dead": dead})


def redrive_dead(context: Context) -> Response:
    """Send all dead letters back to their queues (superusers)."""
    _check_superuser(context)
    return json_response({"redriven": context.runtime.jobs.redrive()})


def _find(context: Context, job_id: str) -> JobView:
    """Return a job of the caller; unknown and foreign ones look alike."""
    found = context.runtime.jobs.get(job_id)
    principal = context.principal
    if not principal.superuser and (found.owner_id is None or found.owner_id != principal.user_id):
        raise NotFoundError(f"There is no job {job_id[:80]!r} of yours.", job=job_id[:80])
    return found


def _check_superuser(context: Context) -> None:
    context.runtime.access.owner_id_of(context.principal)
    if not context.principal.superuser:
        raise PermissionDeniedError("Dead letters are for superusers.")


def _fields(job: JobView) -> dict[str, Any]:
    created = datetime.fromtimestamp(job.created_at, UTC)
    progress = None if job.done is None else {"done": job.done, "total": job.total}
    return {
        "id": job.id,
        "kind": job.kind,
        "token": job.token,
        "channel": job.channel,
        "state": job.state.value,
        "reason": job.reason,
        "tries": job.tries,
        "progress": progress or {"done": 0, "total": None},
        "owner": job.owner_id,
        "created_at": created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def _state(text: str | None) -> JobStatus | None:
    if text is None:
        return None
    try:
        return JobStatus(text)
    except ValueError as error:
        raise InvalidArgumentError(
            f"state={text[:80]!r} is none of {', '.join(JobStatus)}.", parameter="state"
        ) from error


def _limit(context: Context, most: int) -> int:
    limit = read_integer(context.request.args, "limit", most)
    if not 0 < limit <= most:
        raise InvalidArgumentError(f"limit={limit} is not from 1 to {most}.", parameter="limit")
    return limit


_JOB = "/v1/jobs/<segment:job>"

ROUTES = (
    Route("GET", "/v1/jobs", list_jobs, "Jobs of all kinds, newest first", query=_LIST),
    Route("GET", "/v1/jobs/dead", list_dead, "Messages that failed too often", query=_DEAD),
    Route("POST", "/v1/jobs/dead/redrive", redrive_dead, "Send those messages again"),
    Route("GET", _JOB, get_job, "A job of any kind"),
    Route("POST", f"{_JOB}/retry", retry_job, "Let a failed job go on where it stopped"),
    Route("POST", f"{_JOB}/cancel", cancel_job, "End a job before it is done"),
)
