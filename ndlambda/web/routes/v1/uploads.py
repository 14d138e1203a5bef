"""Bodies uploaded before their request: ``/v1/projects/{token}/channels/{channel}/uploads``.

Lambda carries bodies up to 4 MiB. A longer one is announced here, sent directly to the store, and
named by its request as ``?upload=ID`` in place of a body.
"""

from functools import cache
from typing import Any, Final

from werkzeug.wrappers import Response

from ndlambda.errors import (
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
    ValidationError,
)
from ndlambda.model.catalog import Channel
from ndlambda.services.volume.transfers import ADDRESS_EXPIRES_S
from ndlambda.web.request.body import open_body
from ndlambda.web.request.json_body import json_object
from ndlambda.web.request.query import check_parameters
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import CHANNEL_RULE, Context, Route
from ndlambda.wire.volume import formats


def announce(context: Context, token: str, channel: str) -> Response:
    """Announce an upload and return where to send it."""
    chosen = _open(context, token, channel)
    media_type, size_bytes = _read_announcement(context, json_object(context.request))
    uploads = context.runtime.uploads
    upload = uploads.announce(context.principal.user_id, chosen, media_type, size_bytes)
    url = uploads.address(upload)
    answer = json_response(
        {
            "id": upload.id,
            "method": "PUT",
            "url": url or f"{context.request.root_path}{context.path.rstrip('/')}/{upload.id}",
            "with_key": url is None,
            "bytes": size_bytes,
            "expires_s": ADDRESS_EXPIRES_S,
        },
        201,
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer


def put_body(context: Context, token: str, channel: str, upload: str) -> Response:
    """Store an uploaded body, for stores that have no URL of their own."""
    chosen = _open(context, token, channel)
    found = context.runtime.uploads.find(upload, context.principal.user_id, chosen)
    request_body = open_body(context, chosen, found.size_bytes)
    with context.runtime.volume.budget.hold(request_body.size_bytes):
        context.runtime.uploads.put(found, request_body.read())
    return Response(status=204)


def _open(context: Context, token: str, channel: str) -> Channel:
    _, chosen = context.runtime.access.open_channel(token, channel, context.principal, write=True)
    check_parameters(context.request, ())
    context.runtime.volume.check_writable(chosen)
    return chosen


def _read_announcement(context: Context, fields: dict[str, Any]) -> tuple[str, int]:
    """Return media type and length.

    Raises
    ------
    ValidationError
        A field is missing, wrong or unknown.
    UnsupportedMediaTypeError
        No volume format has this media type.
    PayloadTooLargeError
        The upload is longer than any body may be.
    """
    media_type, size_bytes = fields.get("media_type"), fields.get("bytes")
    faults = {name: "unknown field" for name in fields if name not in {"media_type", "bytes"}}
    if not isinstance(media_type, str):
        faults["media_type"] = "not a text like application/x-npy"
    if type(size_bytes) is not int or size_bytes < 1:
        faults["bytes"] = "not a length of 1 or more"
    if faults or not isinstance(media_type, str) or not isinstance(size_bytes, int):
        raise ValidationError(faults)
    if media_type not in _media_types():
        raise UnsupportedMediaTypeError(
            f"{media_type[:80]!r} is not the media type of a volume format.",
            known=sorted(_media_types()),
        )
    limit = context.runtime.settings.max_body_bytes
    if size_bytes > limit:
        raise PayloadTooLargeError(
            f"The body of {size_bytes} bytes is over the limit of {limit}; send smaller boxes.",
            limit=limit,
        )
    return media_type, size_bytes


@cache
def _media_types() -> frozenset[str]:
    every = (*formats("v1").values(), *formats("ndstore").values())
    return frozenset(kind for each in every if each.decode for kind in each.content_types)


_RULE: Final = f"{CHANNEL_RULE}/uploads"

ROUTES = (
    Route(
        "POST",
        _RULE,
        announce,
        "Announce a body that is too long for a request; the response says where to send it",
        body='{"media_type": of a volume format, "bytes": its exact length}',
    ),
    Route(
        "PUT",
        f"{_RULE}/<segment:upload>",
        put_body,
        "Send an announced body to a server whose store has no URL for it",
        body="The body, with the announced length",
        carries_uploads=True,
    ),
)
