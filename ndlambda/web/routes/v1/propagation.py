"""Propagation of a channel: ``/v1/projects/{token}/channels/{channel}/propagation``."""

from dataclasses import asdict
from typing import Any

from werkzeug.wrappers import Response

from ndlambda.errors import ValidationError
from ndlambda.model.catalog import Channel
from ndlambda.services.catalog.project_view import ProjectView
from ndlambda.voxels.downsample import Method
from ndlambda.web.request.json_body import json_object
from ndlambda.web.request.query import check_parameters
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import CHANNEL_RULE, Context, Route

_METHODS = (Method.MEAN.value, Method.NEAREST.value)


def _open(
    context: Context, token: str, channel: str, *, write: bool = False
) -> tuple[ProjectView, Channel]:
    check_parameters(context.request, ())
    return context.runtime.access.open_channel(token, channel, context.principal, write=write)


def get_propagation(context: Context, token: str, channel: str) -> Response:
    """Return the propagation's progress."""
    view, chosen = _open(context, token, channel)
    return _answer(context, view, chosen)


def post_propagation(context: Context, token: str, channel: str) -> Response:
    """Start a propagation, or resume one that was cancelled or failed."""
    view, chosen = _open(context, token, channel, write=True)
    full, method = _read_options(context)
    context.runtime.propagation.start(
        view.dataset,
        chosen,
        method=method,
        full=full,
        owner_id=context.principal.user_id,
        token=view.token.name,
    )
    return _answer(context, view, chosen, status=202)


def delete_propagation(context: Context, token: str, channel: str) -> Response:
    """Cancel a propagation; what is built stays, and a later start resumes there."""
    view, chosen = _open(context, token, channel, write=True)
    context.runtime.propagation.cancel(chosen)
    return _answer(context, view, chosen)


def _read_options(context: Context) -> tuple[bool, Method | None]:
    fields = json_object(context.request) if context.request.get_data() else {}
    wrong = dict.fromkeys(fields.keys() - {"full", "method"}, "unknown")
    full, method = fields.get("full", False), fields.get("method")
    if not isinstance(full, bool):
        wrong["full"] = "must be true or false"
    if method is not None and method not in _METHODS:
        wrong["method"] = f"must be one of {', '.join(_METHODS)}"
    if wrong:
        raise ValidationError(wrong)
    return full, None if method is None else Method(method)


def _answer(context: Context, view: ProjectView, channel: Channel, status: int = 200) -> Response:
    now = context.runtime.catalog.get_channel(channel.project, channel.name)
    found: dict[str, Any] = asdict(context.runtime.propagation.status(view.dataset, now))
    return json_response(found, status)


_RULE = f"{CHANNEL_RULE}/propagation"

ROUTES = (
    Route("GET", _RULE, get_propagation, "Progress of a channel's propagation"),
    Route(
        "POST",
        _RULE,
        post_propagation,
        "Build the coarser resolutions, or update them where voxels were written since",
        body='{"full": rebuild all, "method": "mean" or "nearest" for images}; may be empty',
    ),
    Route("DELETE", _RULE, delete_propagation, "Cancel a propagation"),
)
