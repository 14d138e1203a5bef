"""Turns unsuccessful answers into the exceptions of ``ndlambda.errors``."""

import json
from typing import Any, Final

from ndlambda import errors
from ndlambda.client.transport.http import Answer

_TYPE_PREFIX: Final = "urn:ndlambda:error:"
_STANDARD_MEMBERS: Final = frozenset({"type", "title", "status", "detail"})

_BY_STATUS: Final[dict[int, type[errors.NDLambdaError]]] = {
    400: errors.InvalidArgumentError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    405: errors.MethodNotAllowedError,
    406: errors.NotAcceptableError,
    409: errors.ConflictError,
    412: errors.PreconditionFailedError,
    413: errors.PayloadTooLargeError,
    415: errors.UnsupportedMediaTypeError,
    422: errors.ValidationError,
    429: errors.QuotaExceededError,
    502: errors.UpstreamError,
    503: errors.UpstreamThrottledError,
    504: errors.UpstreamTimeoutError,
}


def _with_descendants(
    root: type[errors.NDLambdaError],
) -> dict[str, type[errors.NDLambdaError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _with_descendants(child)
    return found


def _document(answer: Answer) -> dict[str, Any]:
    try:
        document = json.loads(answer.body)
    except ValueError:  # a proxy answers with HTML or an empty body
        return {}
    return document if isinstance(document, dict) else {}


def error_of(answer: Answer) -> errors.NDLambdaError:
    """Return the exception of an unsuccessful answer.

    The problem document's ``type`` names the class; if it is unknown or missing, the status
    decides. ``details`` has the document's extension members and ``instance``, the id under which
    the server logged the request.
    """
    problem = _document(answer)
    name = str(problem.get("type", "")).removeprefix(_TYPE_PREFIX)
    known = _with_descendants(errors.NDLambdaError)
    kind = known.get(name) or _BY_STATUS.get(answer.status, errors.NDLambdaError)
    message = str(
        problem.get("detail") or problem.get("title") or f"The server answered {answer.status}."
    )
    # Some classes build their message from other arguments; here the message is complete already.
    error = kind.__new__(kind)
    details = {key: value for key, value in problem.items() if key not in _STANDARD_MEMBERS}
    errors.NDLambdaError.__init__(error, message, status=answer.status, **details)
    return error
