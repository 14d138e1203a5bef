"""Reads bodies of RAMON objects within the size and memory limits, and sends them."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from werkzeug.wrappers import Response

from ndlambda.errors import MalformedBodyError, PayloadTooLargeError, UnknownNameError
from ndlambda.model.catalog import Channel
from ndlambda.web.request.body import RequestBody, open_body
from ndlambda.web.request.json_body import narrow_limit
from ndlambda.web.response.delivery import deliver
from ndlambda.web.routing import Context, QueryParameter
from ndlambda.wire.ramon import RamonFormat, RamonItem, RamonLimits, get_format

_MAX_JSON_BYTES: Final = 1 << 20
_SLACK_BYTES: Final = 4 << 20
_COPIES: Final = 2  # the body, and libhdf5's image of it
_INITIAL_BYTES: Final = 64 << 20
_MEMORY_SHARE: Final = 4  # the arrays of one body take at most 1/4 of all memory

JSON_FORM: Final = QueryParameter("format", "old for ndstore's older form of JSON alone")
_JSON_FORMS: Final = {"flat": "json", "old": "json-old"}


def json_format(context: Context) -> RamonFormat:
    """Return the JSON form that the query asks for; flat by default.

    Raises
    ------
    UnknownNameError
        There is no such form.
    """
    requested = context.request.args.get("format", "flat")
    if requested not in _JSON_FORMS:
        raise UnknownNameError("format", requested[:80], tuple(_JSON_FORMS))
    return get_format(_JSON_FORMS[requested])


def read_body(context: Context, limit_bytes: int) -> bytes:
    """Read a body of at most ``limit_bytes``. Raises as ``check_length``."""
    check_length(context, limit_bytes)
    return context.request.get_data(cache=False)


def check_length(context: Context, limit_bytes: int) -> None:
    """Refuse a body by its Content-Length, before it is read.

    Raises
    ------
    PayloadTooLargeError
        The body is longer than the limit.
    """
    length = context.request.content_length or 0
    narrow_limit(context.request, limit_bytes)
    if length > limit_bytes:
        raise PayloadTooLargeError(
            f"The body has {length} bytes; at most {limit_bytes} are read here.",
            limit=limit_bytes,
        )


def open_objects(context: Context, channel: Channel) -> RequestBody:
    """Return a body of objects with their voxels; a body that is too long is refused.

    Raises
    ------
    PayloadTooLargeError, UploadNotFoundError, InvalidArgumentError
        See ``open_body``.
    """
    return open_body(context, channel, _max_array_bytes(context) + _SLACK_BYTES)


def _max_array_bytes(context: Context) -> int:
    """Return the most bytes that the arrays of one body may take."""
    return min(
        RamonLimits().array_bytes, context.runtime.settings.max_memory_bytes // _MEMORY_SHARE
    )


def read_objects(
    request_body: RequestBody, body_format: RamonFormat, held: ExitStack
) -> list[RamonItem]:
    """Read the objects of a body with their voxels.

    The size of the arrays is known only once the body is parsed. Little memory is reserved at
    first, so that many small bodies are read concurrently; if that is not enough, the body is
    parsed again with the largest reservation.

    Parameters
    ----------
    held
        Holds the memory reservation of the returned objects.

    Raises
    ------
    InvalidArgumentError, ValidationError
        The body is not in the format; see ``RamonFormat``.
    PayloadTooLargeError
        The objects or arrays are over a limit.
    ServerBusyError
        No memory became free in time.
    """
    assert body_format.decode is not None
    budget = request_body.context.runtime.volume.budget
    max_bytes = _max_array_bytes(request_body.context)
    body_bytes = _COPIES * request_body.size_bytes
    initial_bytes = min(_INITIAL_BYTES, max_bytes)
    with budget.hold(body_bytes + initial_bytes):
        body = request_body.read()
        items = _try_decode(body_format, body, initial_bytes)
    if items is None:
        with budget.hold(body_bytes + max_bytes):
            items = body_format.decode(body, RamonLimits(array_bytes=max_bytes))
    # Painting reserves memory too, so only what the objects really take stays reserved.
    held.enter_context(budget.hold(sum(map(_size, items))))
    return items


def _try_decode(
    body_format: RamonFormat, body: memoryview, array_bytes: int
) -> list[RamonItem] | None:
    """Return the objects of a body, or None if its arrays may need more than ``array_bytes``."""
    assert body_format.decode is not None
    try:
        return body_format.decode(body, RamonLimits(array_bytes=array_bytes))
    except PayloadTooLargeError:
        return None


def read_one_object(context: Context, body_format: RamonFormat) -> RamonItem:
    """Read a body without voxels that holds exactly one object.

    Raises
    ------
    InvalidArgumentError, ValidationError
        The body is not in the format, or does not hold exactly one object.
    PayloadTooLargeError
        The body is longer than any object.
    """
    assert body_format.decode is not None
    items = body_format.decode(read_body(context, _MAX_JSON_BYTES), RamonLimits())
    if len(items) != 1:
        raise MalformedBodyError(f"The body must hold one object, not {len(items)}.")
    return items[0]


def send_objects(
    context: Context, items: Sequence[RamonItem], body_format: RamonFormat
) -> Response:
    """Return a response with objects and what was read of their voxels."""
    with ExitStack() as held:
        held.enter_context(context.runtime.volume.budget.hold(2 * sum(map(_size, items))))
        body = body_format.encode(items)
        return deliver(context, body, body_format.content_type, {}, held)


def _size(item: RamonItem) -> int:
    if item.data is None:
        return 0
    arrays = [item.data.voxels_xyz, item.data.cutout_zyx]
    arrays += [part.labels_tzyx for part in item.data.cuboids]
    return sum(array.nbytes for array in arrays if array is not None)
