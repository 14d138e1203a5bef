"""Errors as ``application/problem+json`` (RFC 9457), and the table of HTTP statuses."""

import json
from enum import Enum

from werkzeug.wrappers import Response

from ndlambda import errors


class Dialect(Enum):
    """The set of HTTP statuses that a route answers errors with.

    ``V1`` uses the table as it is. ndstore's clients and tests pin other statuses on its routes:
    most client errors are 404 on data routes (``NDSTORE``) and 400 on the resource API
    (``RESOURCE``); a denied anonymous caller gets 401 only on ``info`` and ``projinfo``
    (``NDSTORE_INFO``), else 403. ``NDAUTH`` answers 403 to any bad credentials. Skeleton routes
    (``NDSTORE_SWC``) answer 400 to any bad file or id. ndstore's job API (``INGEST``) answers
    every client error with 400.
    """

    V1 = "v1"
    NDSTORE = "ndstore"
    NDSTORE_INFO = "ndstore-info"
    RESOURCE = "resource"
    NDAUTH = "ndauth"
    NDSTORE_SWC = "ndstore-swc"
    INGEST = "ingest"


STATUS: dict[type[errors.NDLambdaError], int] = {
    errors.NDLambdaError: 500,
    errors.InvalidArgumentError: 400,
    errors.AuthenticationError: 401,
    errors.PermissionDeniedError: 403,
    errors.ForeignPageError: 403,
    errors.NotFoundError: 404,
    errors.RouteNotFoundError: 404,
    errors.MethodNotAllowedError: 405,
    errors.NotAcceptableError: 406,
    errors.RequestTimeoutError: 408,
    errors.ConflictError: 409,
    errors.PreconditionFailedError: 412,
    errors.PayloadTooLargeError: 413,
    errors.UnsupportedMediaTypeError: 415,
    errors.ValidationError: 422,
    errors.QuotaExceededError: 429,
    errors.DeadlineExceededError: 503,
    errors.HeaderTooLargeError: 431,
    errors.IntegrityError: 500,
    errors.UpstreamError: 502,
    errors.ServerBusyError: 503,
    errors.StoreUnavailableError: 503,
    errors.StoreFullError: 507,
    errors.UpstreamThrottledError: 503,
    errors.UpstreamTimeoutError: 504,
}

_DATA_OVERRIDES: dict[type[errors.NDLambdaError], int] = {
    errors.InvalidArgumentError: 404,
    errors.ReadOnlyChannelError: 404,
    errors.InvalidStateError: 404,
    errors.AlreadyExistsError: 404,
    errors.PreconditionFailedError: 404,
    errors.ValidationError: 404,
    errors.UnsupportedMediaTypeError: 404,
    errors.MalformedCredentialsError: 401,
    errors.MethodNotAllowedError: 400,
}

OVERRIDES: dict[Dialect, dict[type[errors.NDLambdaError], int]] = {
    Dialect.V1: {},
    Dialect.NDSTORE: {**_DATA_OVERRIDES, errors.AuthenticationError: 403},
    Dialect.NDSTORE_INFO: _DATA_OVERRIDES,
    Dialect.RESOURCE: {
        errors.AuthenticationError: 403,
        errors.MalformedCredentialsError: 401,
        errors.ConflictError: 400,
        errors.WriteContentionError: 409,
        errors.ValidationError: 400,
    },
    Dialect.NDAUTH: {errors.InvalidArgumentError: 403, errors.MalformedCredentialsError: 401},
    Dialect.INGEST: {
        errors.AuthenticationError: 400,
        errors.MalformedCredentialsError: 401,
        errors.PermissionDeniedError: 400,
        errors.NotFoundError: 400,
        errors.ConflictError: 400,
        errors.WriteContentionError: 409,
        errors.ValidationError: 400,
    },
    Dialect.NDSTORE_SWC: {
        errors.AuthenticationError: 403,
        errors.MalformedCredentialsError: 401,
        errors.NotFoundError: 400,
        errors.ReadOnlyChannelError: 400,
        errors.ConflictError: 400,
        errors.WriteContentionError: 409,
        errors.ValidationError: 400,
    },
}

_RETRY_AFTER_S = {
    errors.QuotaExceededError: 5,
    errors.DeadlineExceededError: 5,
    errors.ServerBusyError: 5,
    errors.StoreUnavailableError: 30,
    errors.StoreFullError: 30,
    errors.UpstreamThrottledError: 2,
    errors.WriteContentionError: 1,
}


def status_of(error_class: type[errors.NDLambdaError], dialect: Dialect = Dialect.V1) -> int:
    """Return the HTTP status of an error class; the closest base class in a table decides."""
    overrides = OVERRIDES[dialect]
    for cls in error_class.__mro__:
        if cls in overrides:
            return overrides[cls]
        if cls in STATUS:
            return STATUS[cls]
    return 500


def problem_response(
    error: errors.NDLambdaError, request_id: str, dialect: Dialect = Dialect.V1
) -> Response:
    """Return the response that reports an error."""
    status = status_of(type(error), dialect)
    return problem_document(
        name=type(error).__name__,
        status=status,
        detail=error.message,
        request_id=request_id,
        details=error.details,
        headers=_headers_of(error, status),
    )


def problem_document(
    *,
    name: str,
    status: int,
    detail: str,
    request_id: str,
    details: dict[str, object] | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return a problem document; ``details`` add members but never replace the standard ones."""
    standard = {
        "type": f"urn:ndlambda:error:{name}",
        "title": _title(name),
        "status": status,
        "detail": detail,
        "instance": request_id,
    }
    body = {**standard, **(details or {}), **standard}
    return Response(
        json.dumps(body, default=str),
        status=status,
        content_type="application/problem+json",
        headers=headers,
    )


def _title(class_name: str) -> str:
    if class_name == errors.NDLambdaError.__name__:
        return "Internal error"
    words = "".join(f" {c.lower()}" if c.isupper() else c for c in class_name).strip()
    return words.removesuffix(" error").capitalize()


def _headers_of(error: errors.NDLambdaError, status: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="ndlambda", Token realm="ndlambda"'
    if isinstance(error, errors.MethodNotAllowedError):
        headers["Allow"] = ", ".join(error.details.get("allow", ()))
    for cls in type(error).__mro__:
        if cls in _RETRY_AFTER_S:
            headers["Retry-After"] = str(error.details.get("retry_after_s", _RETRY_AFTER_S[cls]))
            break
    return headers
