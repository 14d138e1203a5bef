"""The one error tree of the project; it knows nothing of HTTP.

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
    │   └── ReadOnlyChannelError
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
    ├── PayloadTooLargeError
    ├── UnsupportedMediaTypeError
    ├── ValidationError
    ├── QuotaExceededError
    ├── IntegrityError
    │   └── CuboidDecodeError
    └── UpstreamError
        ├── UpstreamThrottledError
        └── UpstreamTimeoutError

The HTTP status of each class is in ``ndlambda/web/problem.py`` only.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class NDLambdaError(Exception):
    """Root of the tree; raised itself only for faults that have no better name.

    Parameters
    ----------
    message
        One sentence for a person: what is wrong and what to do.
    details
        JSON-able facts for a program (limits, names, shapes).
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details


class InvalidArgumentError(NDLambdaError):
    """The request cannot be understood or carried out as written; change it."""


class PathSyntaxError(InvalidArgumentError):
    """The path or an option does not follow the grammar of its route; see the docs of the route."""


class InvalidNameError(InvalidArgumentError):
    """A name is empty, too long or has characters outside ``A-Z a-z 0-9 _``; choose another."""


class EmptyBoxError(InvalidArgumentError):
    """A range ends where it starts or before; give start < stop."""


class OutOfBoundsError(InvalidArgumentError):
    """A box leaves the volume; ask ``info`` for the offset and the size."""


class ShapeMismatchError(InvalidArgumentError):
    """The array sent has another shape or channel count than the request names."""


class DataTypeMismatchError(InvalidArgumentError):
    """The array sent has another dtype than the channel; convert before sending."""


class MalformedBodyError(InvalidArgumentError):
    """The body is not what its format says (truncated, hostile, or of another format)."""


class AuthenticationError(NDLambdaError):
    """A key is needed here, or the key sent is unknown or revoked."""


class MalformedCredentialsError(AuthenticationError):
    """The Authorization header is not ``Token KEY`` or ``Bearer KEY``."""


class PermissionDeniedError(NDLambdaError):
    """The caller may not do this, or the thing named does not exist for them."""


class ReadOnlyChannelError(PermissionDeniedError):
    """The channel is read-only; clear its ``readonly`` flag to write."""


class NotFoundError(NDLambdaError):
    """What was named does not exist."""


class DatasetNotFoundError(NotFoundError):
    """No dataset of this name."""


class ProjectNotFoundError(NotFoundError):
    """No project of this name."""


class ChannelNotFoundError(NotFoundError):
    """No channel of this name in the project."""


class TokenNotFoundError(NotFoundError):
    """No token of this name."""


class UserNotFoundError(NotFoundError):
    """No user of this name."""


class ResolutionNotFoundError(NotFoundError):
    """The dataset has no such resolution; ``info`` lists those it has."""


class UploadNotFoundError(NotFoundError):
    """The upload was used, has expired, or is for another user or channel; upload anew."""


class UnknownNameError(NotFoundError):
    """A format, codec or source of this name is not registered; ``known`` lists those that are."""

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
    """The route exists, but not for this HTTP method; ``allow`` lists those it has."""


class NotAcceptableError(NDLambdaError):
    """None of the formats that the caller accepts can be made here."""


class ConflictError(NDLambdaError):
    """The state of the thing named does not allow this now."""


class AlreadyExistsError(ConflictError):
    """The name is taken by something different."""


class InvalidStateError(ConflictError):
    """The thing named is in a state that refuses this (being deleted, under propagation)."""


class WriteContentionError(ConflictError):
    """Too many writers met on one supercuboid or row; send the request again."""

    retryable = True


class PreconditionFailedError(NDLambdaError):
    """A conditional write or read lost: the object or row is not in the state expected."""


class PayloadTooLargeError(NDLambdaError):
    """The box, body or declared content is over a limit; ``limit`` says which. Ask in parts."""


class UnsupportedMediaTypeError(NDLambdaError):
    """The body's content type is not one that this route reads."""


class ValidationError(NDLambdaError):
    """The JSON body is well formed but its contents are refused; ``errors`` lists why.

    Parameters
    ----------
    errors
        Field name -> what is wrong with it.
    """

    def __init__(self, errors: Mapping[str, str]) -> None:
        listed = "; ".join(f"{field}: {reason}" for field, reason in errors.items())
        super().__init__(
            f"Refused: {listed}.",
            errors=[{"field": field, "detail": reason} for field, reason in errors.items()],
        )


class QuotaExceededError(NDLambdaError):
    """Too much is asked at once; wait ``retry_after_s`` and send the request again."""

    retryable = True


class IntegrityError(NDLambdaError):
    """Stored data contradicts itself; somebody should look."""


class CuboidDecodeError(IntegrityError):
    """A stored supercuboid is damaged; its voxels are not given out."""


class UpstreamError(NDLambdaError):
    """A store behind this service failed."""

    retryable = True


class UpstreamThrottledError(UpstreamError):
    """A store behind this service asks for fewer requests; wait and try again."""


class UpstreamTimeoutError(UpstreamError):
    """A store behind this service did not answer in time."""
