"""The project's error tree; it is independent of HTTP.

::

    NDLambdaError
    ├── InvalidArgumentError
    │   ├── PathSyntaxError
    │   ├── InvalidNameError
    │   ├── EmptyBoxError
    │   ├── OutOfBoundsError
    │   ├── ShapeMismatchError
    │   ├── DataTypeMismatchError
    │   └── MalformedBodyError
    ├── AuthenticationError
    │   └── MalformedCredentialsError
    ├── PermissionDeniedError
    │   ├── ReadOnlyChannelError
    │   └── ForeignPageError
    ├── NotFoundError
    │   ├── DatasetNotFoundError
    │   ├── ProjectNotFoundError
    │   ├── ChannelNotFoundError
    │   ├── TokenNotFoundError
    │   ├── UserNotFoundError
    │   ├── ResolutionNotFoundError
    │   ├── UploadNotFoundError
    │   └── UnknownNameError
    ├── RouteNotFoundError
    ├── MethodNotAllowedError
    ├── NotAcceptableError
    ├── ConflictError
    │   ├── AlreadyExistsError
    │   ├── InvalidStateError
    │   └── WriteContentionError
    ├── PreconditionFailedError
    ├── RequestTimeoutError
    ├── PayloadTooLargeError
    ├── HeaderTooLargeError
    ├── UnsupportedMediaTypeError
    ├── ValidationError
    ├── QuotaExceededError
    ├── DeadlineExceededError
    ├── ServerBusyError
    ├── IntegrityError
    │   └── CuboidDecodeError
    └── UpstreamError
        ├── StoreUnavailableError
        ├── StoreFullError
        ├── UpstreamThrottledError
        └── UpstreamTimeoutError

``ndlambda/web/problem.py`` maps each class to its HTTP status.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, Final

_MAX_LISTED: Final = 100


class NDLambdaError(Exception):
    """Root of the tree; raised itself only for failures without a more specific class.

    Parameters
    ----------
    message
        One sentence for a person: what happened and what to do.
    details
        JSON-serialisable facts for programs (limits, names, shapes).
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details


class InvalidArgumentError(NDLambdaError):
    """The request is invalid as written; change it."""


class PathSyntaxError(InvalidArgumentError):
    """The path or an option does not follow the grammar of its route; see the route's docs."""


class InvalidNameError(InvalidArgumentError):
    """A name is empty, too long or has characters outside ``A-Z a-z 0-9 _``; choose another."""


class EmptyBoxError(InvalidArgumentError):
    """A range ends at or before its start; give start < stop."""


class OutOfBoundsError(InvalidArgumentError):
    """A box exceeds the volume; ``info`` has the offset and the size."""


class ShapeMismatchError(InvalidArgumentError):
    """The array has another shape or channel count than the request names."""


class DataTypeMismatchError(InvalidArgumentError):
    """The array has another dtype than the channel; convert it before sending."""


class MalformedBodyError(InvalidArgumentError):
    """The body does not follow its format (truncated, hostile, or of another format)."""


class AuthenticationError(NDLambdaError):
    """A key is required, or the key is unknown or revoked."""


class MalformedCredentialsError(AuthenticationError):
    """The Authorization header is not ``Token KEY`` or ``Bearer KEY``."""


class PermissionDeniedError(NDLambdaError):
    """The caller may not do this, or the resource does not exist for them."""


class ReadOnlyChannelError(PermissionDeniedError):
    """The channel is read-only; clear its ``readonly`` flag to write."""


class ForeignPageError(PermissionDeniedError):
    """A page of another site let a browser send a change without a key; send the key."""


class NotFoundError(NDLambdaError):
    """The named resource does not exist."""


class DatasetNotFoundError(NotFoundError):
    """There is no dataset with this name."""


class ProjectNotFoundError(NotFoundError):
    """There is no project with this name."""


class ChannelNotFoundError(NotFoundError):
    """The project has no channel with this name."""


class TokenNotFoundError(NotFoundError):
    """There is no token with this name."""


class UserNotFoundError(NotFoundError):
    """There is no user with this name."""


class ResolutionNotFoundError(NotFoundError):
    """The dataset has no such resolution; ``info`` lists those it has."""


class UploadNotFoundError(NotFoundError):
    """The upload was used, has expired, or is for another user or channel; upload it again."""


class UnknownNameError(NotFoundError):
    """No format, codec or source has this name; ``known`` lists the valid names."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"Unknown {kind} {name!r}; known are {', '.join(sorted(known))}.",
            kind=kind,
            name=name,
            known=sorted(known),
        )


class RouteNotFoundError(NDLambdaError):
    """No route has this path; ``/openapi.json`` lists them."""


class MethodNotAllowedError(NDLambdaError):
    """The route does not support this HTTP method; ``allow`` lists the supported ones."""


class NotAcceptableError(NDLambdaError):
    """The server supports none of the formats that the caller accepts."""


class ConflictError(NDLambdaError):
    """The current state of the resource does not allow this."""


class AlreadyExistsError(ConflictError):
    """The name is taken by a different resource."""


class InvalidStateError(ConflictError):
    """The resource's state refuses this (being deleted, under propagation)."""


class WriteContentionError(ConflictError):
    """Too many concurrent writes to one supercuboid or row; send the request again."""

    retryable = True


class PreconditionFailedError(NDLambdaError):
    """The precondition of a conditional request failed: the object or row has another state."""


class RequestTimeoutError(NDLambdaError):
    """The headers or the body came too slowly; send the request again."""

    retryable = True


class PayloadTooLargeError(NDLambdaError):
    """The box, body or declared content exceeds a limit, given as ``limit``; split the request."""


class HeaderTooLargeError(NDLambdaError):
    """The request line and the headers are longer than ``limit``; name less in one request."""


class UnsupportedMediaTypeError(NDLambdaError):
    """The route does not accept the body's content type."""


class ValidationError(NDLambdaError):
    """The JSON body is well formed but has invalid fields; ``errors`` lists them.

    Parameters
    ----------
    errors
        Field name -> reason; only the first hundred are listed.
    """

    def __init__(self, errors: Mapping[str, str]) -> None:
        first = list(islice(errors.items(), _MAX_LISTED))
        listed = "; ".join(f"{field}: {reason}" for field, reason in first)
        more = f"; and {len(errors) - len(first)} more" if len(errors) > len(first) else ""
        super().__init__(
            f"Refused: {listed}{more}.",
            errors=[{"field": field, "detail": reason} for field, reason in first],
        )


class QuotaExceededError(NDLambdaError):
    """Too much is requested at once; wait ``retry_after_s`` and send the request again."""

    retryable = True


class DeadlineExceededError(NDLambdaError):
    """The time of the request is up; ask for less at once, or again when the server is quieter."""

    retryable = True

    def __init__(self) -> None:
        super().__init__(
            "The server did not finish this in the time that a request has; "
            "ask for less at once, or again later."
        )


class ServerBusyError(NDLambdaError):
    """Other requests take the server's memory or connections; wait and send the request again."""

    retryable = True


class IntegrityError(NDLambdaError):
    """Stored data is inconsistent; an operator should investigate."""


class CuboidDecodeError(IntegrityError):
    """A stored supercuboid is damaged; its voxels are not returned."""


class UpstreamError(NDLambdaError):
    """A store behind the service failed."""

    retryable = True


class StoreUnavailableError(UpstreamError):
    """A folder of the stores is not there (an unmounted disk); an operator must bring it back."""


class StoreFullError(UpstreamError):
    """A disk of the stores is full; nothing was stored, and an operator must make room."""


class UpstreamThrottledError(UpstreamError):
    """A store behind the service throttles requests; wait and retry."""


class UpstreamTimeoutError(UpstreamError):
    """A store behind the service did not answer in time."""
