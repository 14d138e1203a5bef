"""RAMON objects as JSON documents under ``…/channels/{channel}/annotations``.

:mod:`ndlambda.model.ramon.plain` defines the documents. Ids are JSON integers of up to 64 bits:
exact in Python, while JavaScript rounds those above 2^53.
"""

from dataclasses import replace
from typing import Any, Final

from werkzeug.wrappers import Request, Response

from ndlambda.errors import (
    InvalidArgumentError,
    MalformedBodyError,
    PayloadTooLargeError,
    PreconditionFailedError,
    ValidationError,
    WriteContentionError,
)
from ndlambda.model.ramon import LARGEST_ID, Annotation
from ndlambda.model.ramon.plain import from_plain, patched, read_type_word, to_plain
from ndlambda.model.readers import Refusal, integer
from ndlambda.services.annotation.adoption import LabelCursor
from ndlambda.services.annotation.options import WriteMode
from ndlambda.services.support.retry import HOT_ROW_ATTEMPTS, optimistic
from ndlambda.services.volume.region import Region
from ndlambda.web.annotation.channel import Opened, find_region, open_labels, read_id
from ndlambda.web.request.json_body import json_object, json_value
from ndlambda.web.request.object_query import PREFIXES, SHOWN, TYPE, WHERE, read_query, read_type
from ndlambda.web.request.page import read_limit
from ndlambda.web.request.params import region_of_query
from ndlambda.web.request.query import TIMED_BOX, read_integer
from ndlambda.web.response.delivery import deliver_json
from ndlambda.web.response.json import json_response
from ndlambda.web.routing import CHANNEL_RULE, Context, QueryParameter, Route
from ndlambda.wire.ramon.contract import RamonItem

_LIMIT: Final = QueryParameter("limit", "most keys to return; 10 if left out")
_MAX_OBJECTS_BYTES: Final = 4 << 20
_OBJECTS_EXPANSION: Final = 8
"""Bytes that objects take as Python values, for each of their JSON."""
_MAX_OBJECTS: Final = 10_000
_MAX_IDS: Final = 1 << 32
_MAX_KEYS: Final = 10_000
_AXES: Final = ("x", "y", "z", "t")

_id = integer(1, LARGEST_ID)
_count = integer(1, _MAX_IDS)
_resolution = integer(0, 999)
_coordinate = integer(0, 10**18 - 1)


def query_objects(context: Context, token: str, channel: str) -> Response:
    """Return ids of the objects that match all parameters, ascending, page by page."""
    opened = open_labels(context, token, channel, (*WHERE, *TIMED_BOX), prefixes=PREFIXES)
    query = read_query(context.request.args)
    region = find_region(context, opened)
    if region is None and "resolution" in context.request.args:
        raise InvalidArgumentError("resolution= belongs to a box; add x=, y=, z= or t=.")
    limit = read_limit(context.request.args)
    one_more = replace(query, limit=limit + 1)
    found = context.runtime.annotation.objects.query(
        opened.dataset, opened.channel, one_more, region
    )
    following = found[limit - 1] if len(found) > limit else None
    return deliver_json(context, {"ids": found[:limit], "next": following})


def delete_objects(context: Context, token: str, channel: str) -> Response:
    """Delete objects with their voxels; 202 while workers are still erasing voxels of some."""
    opened = open_labels(context, token, channel, write=True)
    ids = _ids(_fields(context.request, {"ids"}).get("ids"), least=1)
    return _deleted(context.runtime.annotation.objects.delete(opened.channel, ids))


def create_objects(context: Context, token: str, channel: str) -> Response:
    """Store one object or several; all are checked before the first is stored."""
    opened = open_labels(context, token, channel, write=True)
    length = context.request.content_length or 0
    with context.runtime.volume.budget.hold(_OBJECTS_EXPANSION * length):
        body = json_value(context.request, _MAX_OBJECTS_BYTES)
        items = _read_list(body) if isinstance(body, list) else [RamonItem(from_plain(body))]
        annotations = context.runtime.annotation.objects
        ids = annotations.upload(opened.dataset, opened.channel, items, WriteMode())
    response = json_response({"ids": ids}, 201)
    if len(ids) == 1:
        response.headers["Location"] = f"{context.path.rstrip('/')}/{ids[0]}"
    return response


def _read_list(documents: list[Any]) -> list[RamonItem]:
    """Read the objects of a list, which must not be empty or too long."""
    if not documents:
        raise MalformedBodyError("The list has no object in it.")
    if len(documents) > _MAX_OBJECTS:
        raise PayloadTooLargeError(
            f"At most {_MAX_OBJECTS} objects are accepted at once.", limit=_MAX_OBJECTS
        )
    return [RamonItem(_read_element(position, one)) for position, one in enumerate(documents)]


def _read_element(position: int, document: object) -> Annotation:
    """Read one object of a list; a validation error names its position."""
    try:
        return from_plain(document)
    except ValidationError as error:
        faults = error.details["errors"]
        raise ValidationError(
            {f"{position}.{fault['field']}": fault["detail"] for fault in faults}
        ) from None


def get_object(context: Context, token: str, channel: str, annotation: str) -> Response:
    """Return an object; its version is the ``ETag``."""
    opened = open_labels(context, token, channel)
    return _object_response(context, opened, read_id(annotation))


def replace_object(context: Context, token: str, channel: str, annotation: str) -> Response:
    """Replace an object as a whole; ``If-Match`` requires a version."""
    opened = open_labels(context, token, channel, write=True)
    number = read_id(annotation)
    version = _version(context.request)
    ramon = from_plain(json_object(context.request), number)
    context.runtime.annotation.ramon.update(opened.channel, ramon, if_version=version)
    return _object_response(context, opened, number)


def change_object(context: Context, token: str, channel: str, annotation: str) -> Response:
    """Change some fields, by optimistic concurrency, so that no concurrent change is lost."""
    opened = open_labels(context, token, channel, write=True)
    number = read_id(annotation)
    version = _version(context.request)
    changes = json_object(context.request)
    ramon = context.runtime.annotation.ramon
    for _ in optimistic(HOT_ROW_ATTEMPTS):
        found = ramon.get(opened.channel, number)
        new = patched(found.ramon, changes)
        expected = found.version if version is None else version
        try:
            ramon.update(opened.channel, new, if_version=expected)
        except PreconditionFailedError:
            if version is not None:
                raise
            continue
        return _object_response(context, opened, number)
    raise WriteContentionError(
        f"Object {number} keeps being changed by others; send the request again.", id=number
    )


def delete_object(context: Context, token: str, channel: str, annotation: str) -> Response:
    """Delete an object with its voxels; 202 while a worker is still erasing the voxels."""
    opened = open_labels(context, token, channel, write=True)
    number = read_id(annotation)
    if _version(context.request) is not None:
        raise InvalidArgumentError("Objects are deleted whatever their version; drop If-Match.")
    return _deleted(context.runtime.annotation.objects.delete(opened.channel, [number]))


def _deleted(pending: list[int]) -> Response:
    return json_response({"pending": pending}, 202) if pending else Response(status=204)


def list_keys(context: Context, token: str, channel: str) -> Response:
    """Return the most frequent keys of key-value pairs, most frequent first."""
    opened = open_labels(context, token, channel, (TYPE, _LIMIT))
    limit = read_integer(context.request.args, "limit", 10)
    if not 0 < limit <= _MAX_KEYS:
        raise InvalidArgumentError(f"limit is from 1 to {_MAX_KEYS}.", parameter="limit")
    ramon_type = read_type(context.request.args)
    found = context.runtime.annotation.ramon.top_keys(opened.channel, limit, ramon_type)
    return json_response({"keys": [{"key": key, "count": count} for key, count in found]})


def reserve_ids(context: Context, token: str, channel: str) -> Response:
    """Reserve consecutive ids for the caller alone."""
    opened = open_labels(context, token, channel, write=True)
    fields = _fields(context.request, {"count"})
    try:
        count = _count(fields.get("count"))
    except Refusal as refusal:
        raise ValidationError({"count": str(refusal)}) from None
    first = context.runtime.annotation.objects.reserve(opened.channel, count)
    return json_response({"first": first, "count": count}, 201)


def merge_objects(context: Context, token: str, channel: str) -> Response:
    """Merge objects into the first; a resolution or a box restricts which voxels are relabelled.

    The response is 202 while a worker is still relabelling voxels.
    """
    opened = open_labels(context, token, channel, write=True)
    fields = _fields(context.request, {"ids", "resolution", "box"})
    ids = _ids(fields.get("ids"))
    resolution = _resolution_of(fields)
    region = None
    if "box" in fields:
        region = _box(context, opened, fields["box"], resolution or 0)
    pending = context.runtime.annotation.objects.merge(
        opened.dataset,
        opened.channel,
        ids,
        resolution=resolution if region is None else None,
        region=region,
    )
    if pending:
        return json_response({"id": ids[0], "pending": pending}, 202)
    return json_response({"id": ids[0]})


def adopt_labels(context: Context, token: str, channel: str) -> Response:
    """Make objects of some labels that have none; the answer says where to continue."""
    opened = open_labels(context, token, channel, write=True)
    fields = _fields(context.request, {"type", "after"})
    ramon_type = read_type_word(fields.get("type", "segment"))
    after = fields.get("after")
    if after is not None and not isinstance(after, str):
        raise ValidationError({"after": "must be `next` of the answer before"})
    done = context.runtime.annotation.adoption.adopt(
        opened.channel, ramon_type, None if after is None else LabelCursor.parse(after)
    )
    following = None if done.following is None else str(done.following)
    return json_response(
        {
            "labels": done.labels,
            "adopted": done.adopted,
            "progress": done.progress,
            "next": following,
        }
    )


def _object_response(context: Context, opened: Opened, number: int) -> Response:
    ramon = context.runtime.annotation.ramon
    found = ramon.get(opened.channel, number)
    (derived,) = ramon.derived_lists(opened.channel, [found.ramon])
    response = json_response(to_plain(found.ramon, derived, found.version))
    response.set_etag(str(found.version))
    return response


def _version(request: Request) -> int | None:
    """Return the version that ``If-Match`` requires, or None if it requires none."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    tags = [tag for tag in request.if_match.as_set() if tag.isascii() and tag.isdecimal()]
    if len(tags) != 1 or len(tags[0]) > len(str(LARGEST_ID)):
        raise InvalidArgumentError('If-Match has one version, as ETag gave it: "3".')
    return int(tags[0])


def _fields(request: Request, known: set[str]) -> dict[str, Any]:
    fields = json_object(request)
    unknown = {name[:80]: "unknown field" for name in fields if name not in known}
    if unknown:
        raise ValidationError(unknown)
    return fields


def _ids(value: object, least: int = 2) -> list[int]:
    if not isinstance(value, list) or not least <= len(value) <= _MAX_OBJECTS:
        raise ValidationError({"ids": f"must be a list of {least} to {_MAX_OBJECTS} ids"})
    try:
        return [_id(element) for element in value]
    except Refusal as refusal:
        raise ValidationError({"ids": str(refusal)}) from None


def _resolution_of(fields: dict[str, Any]) -> int | None:
    if fields.get("resolution") is None:
        return None
    try:
        resolution: int = _resolution(fields["resolution"])
    except Refusal as refusal:
        raise ValidationError({"resolution": str(refusal)}) from None
    return resolution


def _box(context: Context, opened: Opened, value: object, resolution: int) -> Region:
    """Read ``{"x": [a, b], …}``, the same box as in a query."""
    if not isinstance(value, dict) or not set(value) <= set(_AXES):
        raise ValidationError({"box": 'must be like {"x": [0, 64], "y": [0, 64], "z": [0, 16]}'})
    words = {"resolution": str(resolution)}
    for axis, ends in value.items():
        try:
            start, stop = (_coordinate(end) for end in (ends if isinstance(ends, list) else ()))
        except ValueError:  # also a Refusal, which is one
            raise ValidationError({f"box.{axis}": "must be two integers, start and stop"}) from None
        words[axis] = f"{start}:{stop}"
    region, _ = region_of_query(opened.dataset, opened.channel, words)
    context.runtime.volume.check_size(region, opened.channel)
    return region


_OBJECTS: Final = f"{CHANNEL_RULE}/annotations"
_OBJECT: Final = f"{_OBJECTS}/<segment:annotation>"
_DOCUMENT: Final = (
    'A JSON object: "type", and optionally "id", fields by their names and "pairs"; '
    'such as {"type": "synapse", "weight": 0.5, "segments": [7, 9], "pairs": {"seen": "yes"}}'
)

ROUTES = (
    Route(
        "GET",
        _OBJECTS,
        query_objects,
        "Ids of the objects that match all parameters (in a box, if one is given)",
        query=(*WHERE, *SHOWN, *TIMED_BOX),
    ),
    Route(
        "POST",
        _OBJECTS,
        create_objects,
        "Store new objects; 201 with their ids",
        body=f"{_DOCUMENT}; or a list of such objects",
    ),
    Route("GET", _OBJECT, get_object, "An object; ETag is its version"),
    Route(
        "PUT",
        _OBJECT,
        replace_object,
        "Replace an object as a whole; If-Match requires a version (412)",
        body=_DOCUMENT,
    ),
    Route(
        "PATCH",
        _OBJECT,
        change_object,
        "Change some fields and pairs of an object; If-Match requires a version (412)",
        body='The fields to change, null for the default; "pairs" likewise, null removes one',
    ),
    Route(
        "DELETE",
        _OBJECT,
        delete_object,
        "Delete an object and its voxels; 204, or 202 with the ids that a worker still erases",
    ),
    Route(
        "POST",
        f"{_OBJECTS}/delete",
        delete_objects,
        "Delete many objects and their voxels; 204, or 202 with the ids that workers still erase",
        body='{"ids": [7, 8, 9]}',
    ),
    Route(
        "GET",
        f"{CHANNEL_RULE}/keys",
        list_keys,
        "Most frequent keys of pairs",
        query=(TYPE, _LIMIT),
    ),
    Route(
        "POST",
        f"{CHANNEL_RULE}/reserve",
        reserve_ids,
        "Reserve consecutive ids; 201 with first and count",
        body='{"count": 100}',
    ),
    Route(
        "POST",
        f"{CHANNEL_RULE}/adopt",
        adopt_labels,
        "Make objects of labels that have none, a thousand labels or so a call",
        body='{"type": "segment", "after": "3:1f4"}, both optional; "after" is `next` of the last '
        "answer",
    ),
    Route(
        "POST",
        f"{CHANNEL_RULE}/merge",
        merge_objects,
        "Merge objects into the first of them",
        body='{"ids": [7, 8, 9]}; with "resolution" voxels are relabelled there only; with "box" '
        '({"x": [0, 64], …}, at "resolution" or 0) in the box only, and the objects stay',
    ),
)
