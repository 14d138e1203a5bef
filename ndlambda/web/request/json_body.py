"""JSON request bodies."""

import json
from typing import Any

from werkzeug.wrappers import Request

from ndlambda.errors import MalformedBodyError, PayloadTooLargeError
from ndlambda.model.readers import unique_fields

_MAX_BYTES = 1 << 20


def narrow_limit(request: Request, limit_bytes: int) -> None:
    """Bound a body, whose length may not be declared, beside the bound that it has already."""
    known = request.max_content_length
    request.max_content_length = limit_bytes if known is None else min(known, limit_bytes)


def json_object(request: Request) -> dict[str, Any]:
    """Read a body that is one JSON object, whatever its content type (ndio sends none).

    Raises
    ------
    MalformedBodyError
        It is not JSON, not an object, or repeats a field.
    PayloadTooLargeError
        It is longer than a megabyte.
    """
    value = json_value(request)
    if not isinstance(value, dict):
        raise MalformedBodyError('The body must be a JSON object like {"name": …}.')
    return value


def json_value(request: Request, limit_bytes: int = _MAX_BYTES) -> Any:
    """Read a body that is any JSON value, whatever its content type.

    Raises
    ------
    MalformedBodyError
        It is not JSON, or an object in it repeats a field.
    PayloadTooLargeError
        It is longer than the limit.
    """
    if (request.content_length or 0) > limit_bytes:
        raise PayloadTooLargeError(
            f"A JSON body may have {limit_bytes} bytes here.", limit=limit_bytes
        )
    narrow_limit(request, limit_bytes)
    try:
        return json.loads(request.get_data(), object_pairs_hook=unique_fields)
    except (ValueError, RecursionError) as error:
        raise MalformedBodyError(f"The body is not valid JSON: {error}.") from error
