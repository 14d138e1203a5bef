"""JSON request bodies."""

import json
from typing import Any

from werkzeug.wrappers import Request

from ndlambda.errors import MalformedBodyError, PayloadTooLargeError

_LIMIT_BYTES = 1 << 20


def json_object(request: Request) -> dict[str, Any]:
    """Read a body that is one JSON object, whatever its content type says (ndio sends none).

    Raises
    ------
    MalformedBodyError
        It is not JSON, or not an object, or says a field twice.
    PayloadTooLargeError
        It is longer than a megabyte.
    """
    value = json_value(request)
    if not isinstance(value, dict):
        raise MalformedBodyError('The body must be a JSON object like {"name": …}.')
    return value


def json_value(request: Request, limit_bytes: int = _LIMIT_BYTES) -> Any:
    """Read a body that is JSON of any kind, whatever its content type says.

    Raises
    ------
    MalformedBodyError
        It is not JSON, or an object in it says a field twice.
    PayloadTooLargeError
        It is longer than the limit.
    """
    if (request.content_length or 0) > limit_bytes:
        raise PayloadTooLargeError(
            f"A JSON body may have {limit_bytes} bytes here.", limit=limit_bytes
        )
    try:
        return json.loads(request.get_data(), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise MalformedBodyError(f"The body is not valid JSON: {error}.") from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        message = "a field is there twice"
        raise ValueError(message)
    return found
