"""``createChannel`` and ``deleteChannel``: ndstore dropped them, every released ndio calls them."""

from typing import Any

from werkzeug.wrappers import Response

from ndlambda.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    MalformedBodyError,
    ValidationError,
)
from ndlambda.model.catalog import Channel
from ndlambda.model.fields import channel_fields, channel_from_fields
from ndlambda.web.problem import Dialect
from ndlambda.web.request.json_body import json_object
from ndlambda.web.request.params import check_channels
from ndlambda.web.response.notes import notes_of
from ndlambda.web.routing import Context, Route


def create_channels(context: Context, token: str) -> Response:
    """Create the channels that the body names; all are checked before the first is created."""
    view = context.runtime.access.open_to_manage(token, context.principal)
    listed = _listed(context)
    if not isinstance(listed, dict) or not listed:
        raise MalformedBodyError('The body must be {"channels": {name: {field: value}}}.')
    check_channels(len(listed))
    channels = [_channel(name, fields, view.project.name) for name, fields in listed.items()]
    levels = view.dataset.scalinglevels
    for channel in channels:
        if channel.resolution > levels:
            raise ValidationError({f"{channel.name}.resolution": f"must be from 0 to {levels}"})
        if view.find_channel(channel.name) is not None:
            raise AlreadyExistsError(
                f"Channel {channel.name} already exists for project {view.project.name}. "
                "Specify a different channel name"
            )
    headers: dict[str, str] = {}
    for channel in channels:
        made = context.runtime.catalog.create_channel(channel)
        headers |= notes_of(listed[channel.name], channel_fields(made))
    return Response(
        "Success. The channels were created.", content_type="text/html", headers=headers
    )


def _listed(context: Context) -> Any:
    """Return the only field of the body, None if it has another name or others beside it."""
    fields = json_object(context.request)
    return fields.get("channels") if len(fields) == 1 else None


def _channel(name: str, fields: Any, project: str) -> Channel:
    """Read a channel's fields; ndio names four of ndstore's fields differently."""
    if not isinstance(fields, dict):
        raise ValidationError({name: "not an object of fields"})
    renamed = {_NDIO_FIELDS.get(field, field): value for field, value in fields.items()}
    for field, (first, last) in _NDIO_RANGES.items():
        if field in renamed:
            pair = renamed.pop(field)
            if not isinstance(pair, list) or len(pair) != 2:
                raise ValidationError({field: "not a pair of numbers"})
            renamed[first], renamed[last] = pair
    return channel_from_fields(renamed, name=name, project=project)


_NDIO_FIELDS = {"datatype": "channel_datatype", "description": "channel_description"}
_NDIO_RANGES = {"timerange": ("starttime", "endtime"), "windowrange": ("startwindow", "endwindow")}


def delete_channels(context: Context, token: str) -> Response:
    """Delete the channels that the body names; read-only ones are kept silently."""
    view = context.runtime.access.open_to_manage(token, context.principal, delete=True)
    names = _listed(context)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MalformedBodyError('The body must be {"channels": [name, …]}.')
    check_channels(len(names))
    missing = sorted(name for name in set(names) if view.find_channel(name) is None)
    if missing:
        raise InvalidArgumentError(f"There are no channels {', '.join(missing)}.")
    for name in dict.fromkeys(names):
        context.runtime.catalog.delete_channel(view.project.name, name, keep_readonly=True)
    return Response("Success. Channels deleted.", content_type="text/html")


ROUTES = tuple(
    Route(
        "POST",
        f"/sd/<name:token>/{name}",
        view,
        summary,
        dialect=Dialect.RESOURCE,
        body=body,
    )
    for name, view, summary, body in (
        ("createChannel", create_channels, "Create channels", '{"channels": {name: {fields}}}'),
        ("deleteChannel", delete_channels, "Delete channels", '{"channels": [names]}'),
    )
)
