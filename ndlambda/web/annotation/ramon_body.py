"""Bodies of RAMON objects: read within the limits and the memory there is, and sent."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from werkzeug.wrappers import Response

from ndlambda.errors import MalformedBodyError, PayloadTooLargeError, UnknownNameError
from ndlambda.model.catalog import Channel
from ndlambda.web.request.body import RequestBody, open_intake
from ndlambda.web.response.delivery import deliver
from ndlambda.web.routing import Context, QueryParameter
from ndlambda.wire.ramon import RamonFormat, RamonItem, RamonLimits, get_format

_JSON_BYTES: Final = 1 << 20
_SLACK_BYTES: Final = 4 << 20
_COPIES: Final = 2  # the body, and libhdf5's image of it
_AT_FIRST_BYTES: Final = 64 << 20
_SHARE: Final = 4  # the fraction of all memory that one body's arrays may take

JSON_FORM: Final = QueryParameter(
    "format", "old for ndstore's older form of JSON, which ndio reads"
)
_JSON_FORMS: Final = {"flat": "json", "old": "json-old"}


def json_format(context: Context) -> RamonFormat:
    """Return the form of JSON that the query asks for; flat if it asks for none.

    Raises
    ------
    UnknownNameError
        There is no such form.
    """
    asked = context.request.args.get("format", "flat")
    if asked not in _JSON_FORMS:
        raise UnknownNameError("format", asked[:80], tuple(_JSON_FORMS))
    return get_format(_JSON_FORMS[asked])


def read_body(context: Context, limit_bytes: int) -> bytes:
    """Read a body that is not longer than it may be. Raises as ``check_length``."""
    check_length(context, limit_bytes)
    return context.request.get_data(cache=False)


def check_length(context: Context, limit_bytes: int) -> None:
    """Refuse a body by the length that it says it has, before it is read.

    Raises
    ------
    PayloadTooLargeError
        It is over the limit.
    """
    length = context.request.content_length or 0
    if length > limit_bytes:
        raise PayloadTooLargeError(
            f"The body has {length} bytes; at most {limit_bytes} are read here.",
            limit=limit_bytes,
        )


def open_objects(context: Context, channel: Channel) -> RequestBody:
    """Return a body of objects with their voxels, refused if it is too long.

    Raises
    ------
    PayloadTooLargeError, UploadNotFoundError, InvalidArgumentError
        See ``open_intake``.
    """
    return open_intake(context, channel, _most_bytes(context) + _SLACK_BYTES)


def _most_bytes(context: Context) -> int:
    """Return what the arrays of one body may need."""
    return min(RamonLimits().array_bytes, context.runtime.settings.max_memory_bytes // _SHARE)


def read_objects(intake: RequestBody, body_format: RamonFormat, held: ExitStack) -> list[RamonItem]:
    """Read the objects of a body with their voxels.

    What the arrays inside need is only known when they are looked at: little memory is taken at
    first, so that many small bodies are read side by side, and much only for the body that proves
    to need it.

    Parameters
    ----------
    held
        Keeps the memory that the objects take.

    Raises
    ------
    InvalidArgumentError, ValidationError
        The body is not of the format; see ``RamonFormat``.
    PayloadTooLargeError
        Its objects or arrays are over a limit.
    QuotaExceededError
        The memory stayed taken.
    """
    assert body_format.decode is not None
    budget = intake.context.runtime.volume.budget
    most = _most_bytes(intake.context)
    length = _COPIES * intake.size_bytes
    at_first = min(_AT_FIRST_BYTES, most)
    with budget.hold(length + at_first):
        body = intake.read()
        items = _decoded(body_format, body, at_first)
    if items is None:
        with budget.hold(length + most):
            items = body_format.decode(body, RamonLimits(array_bytes=most))
    # Painting takes memory, too; what decoding may have needed would stand in its way.
    held.enter_context(budget.hold(sum(map(_size, items))))
    return items


def _decoded(
    body_format: RamonFormat, body: memoryview, array_bytes: int
) -> list[RamonItem] | None:
    """Return the objects of a body, None where its arrays may need more memory than is held."""
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
        The body is not of the format, or holds another number of objects.
    PayloadTooLargeError
        It is longer than any object.
    """
    assert body_format.decode is not None
    items = body_format.decode(read_body(context, _JSON_BYTES), RamonLimits())
    if len(items) != 1:
        raise MalformedBodyError(f"The body must hold one object, not {len(items)}.")
    return items[0]


def send_objects(
    context: Context, items: Sequence[RamonItem], body_format: RamonFormat
) -> Response:
    """Answer objects with what was read of their voxels."""
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
