"""Translates the errors of AWS, its emulators and its clients to ours, by one table.

Every error is first reduced to a *code*: the ``Code`` of an AWS answer, else its HTTP status,
else the name of the exception's class. The table maps a code to an error of ours and tells whether
a retry can help.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import botocore.exceptions
import obstore.exceptions
from pynamodb.exceptions import PynamoDBException

from ndlambda.errors import (
    NDLambdaError,
    PreconditionFailedError,
    UpstreamError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    WriteContentionError,
)

AWS_ERRORS: Final = (
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
    obstore.exceptions.BaseError,
    FileNotFoundError,  # obstore's error for a 404
    PynamoDBException,
)
"""The errors of the clients; others are not translated."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a code.

    Attributes
    ----------
    kind
        The class of error to raise.
    is_transient
        Whether a retry of the same request can help.
    """

    kind: type[NDLambdaError]
    is_transient: bool = False


_LOST = Meaning(PreconditionFailedError)
_CONTENDED = Meaning(WriteContentionError, is_transient=True)
_THROTTLED = Meaning(UpstreamThrottledError, is_transient=True)
_TIMED_OUT = Meaning(UpstreamTimeoutError, is_transient=True)
_BROKEN = Meaning(UpstreamError, is_transient=True)
_REFUSED = Meaning(UpstreamError)

MEANINGS: Final[Mapping[str, Meaning]] = {
    # a condition did not hold
    "412": _LOST,
    "409": _LOST,  # S3 ConditionalRequestConflict: another write of the key is under way
    "NoSuchKey": _LOST,  # S3's 404 for If-Match on an absent key; reads handle it themselves
    "PreconditionFailed": _LOST,
    "ConditionalRequestConflict": _LOST,
    "PreconditionError": _LOST,
    "AlreadyExistsError": _LOST,
    "ConditionalCheckFailed": _LOST,
    "ConditionalCheckFailedException": _LOST,
    # another transaction holds the row
    "TransactionConflict": _CONTENDED,
    "TransactionConflictException": _CONTENDED,
    "TransactionInProgressException": _CONTENDED,
    # throttled
    "429": _THROTTLED,
    "503": _THROTTLED,
    "SlowDown": _THROTTLED,
    "ServiceUnavailable": _THROTTLED,
    "Throttling": _THROTTLED,
    "ThrottlingError": _THROTTLED,
    "ThrottlingException": _THROTTLED,
    "RequestThrottled": _THROTTLED,
    "RequestThrottledException": _THROTTLED,
    "RequestLimitExceeded": _THROTTLED,
    "TooManyRequestsException": _THROTTLED,
    "ProvisionedThroughputExceeded": _THROTTLED,
    "ProvisionedThroughputExceededException": _THROTTLED,
    # no answer in time
    "408": _TIMED_OUT,
    "504": _TIMED_OUT,
    "RequestTimeout": _TIMED_OUT,
    "ConnectTimeoutError": _TIMED_OUT,
    "ReadTimeoutError": _TIMED_OUT,
    "TimedOut": _TIMED_OUT,
    # a failure of the service or the network
    "500": _BROKEN,
    "502": _BROKEN,
    "InternalError": _BROKEN,
    "InternalFailure": _BROKEN,
    "InternalServerError": _BROKEN,
    "ConnectionClosedError": _BROKEN,
    "ConnectionError": _BROKEN,
    "EndpointConnectionError": _BROKEN,
    "HTTPClientError": _BROKEN,
    "ResponseStreamingError": _BROKEN,
}
"""Code -> meaning; an unknown code is a permanent ``UpstreamError``."""

_XML_CODE = re.compile(r"<Code>(\w+)</Code>")
_HTTP_STATUS = re.compile(r"status code: (\d{3})")


@dataclass(frozen=True, slots=True)
class Failure:
    """A translated error, and whether a retry can help."""

    error: NDLambdaError
    is_transient: bool


def translate(error: Exception, operation: str) -> Failure:
    """Return the translation of one of ``AWS_ERRORS``, with the failed operation in its message.

    A cancelled transaction becomes ``PreconditionFailedError`` with the indexes of the actions
    whose condition did not hold in ``details["failed"]``.
    """
    reasons = cancellation_codes(error)
    lost = [index for index, code in enumerate(reasons) if meaning_of(code) is _LOST]
    if lost:
        message = f"{operation}: the conditions of {len(lost)} of {len(reasons)} rows do not hold."
        return Failure(PreconditionFailedError(message, failed=lost), is_transient=False)
    code, status = next((each for each in reasons if each), error_code(error)), http_status(error)
    meaning = MEANINGS.get(code) or meaning_of(status)
    if meaning is _LOST:
        message = f"{operation}: what is stored is not in the state expected."
        return Failure(PreconditionFailedError(message), is_transient=False)
    return Failure(
        meaning.kind(f"{operation} failed with {code}.", operation=operation, code=code),
        meaning.is_transient,
    )


def meaning_of(code: str) -> Meaning:
    """Return the meaning of a code; an unknown one is a permanent refusal."""
    return MEANINGS.get(code, _REFUSED)


def error_code(error: Exception) -> str:
    """Reduce one of ``AWS_ERRORS`` to its code."""
    error = _cause(error)
    if isinstance(error, botocore.exceptions.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    if found := _XML_CODE.search(str(error)):
        return found[1]
    if isinstance(error, obstore.exceptions.GenericError):
        return "TimedOut" if "TimedOut" in str(error) else http_status(error) or "GenericError"
    return type(error).__name__


def http_status(error: Exception) -> str:
    """Return the HTTP status of one of ``AWS_ERRORS``; empty if there is none."""
    error = _cause(error)
    if isinstance(error, botocore.exceptions.ClientError):
        return str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
    found = _HTTP_STATUS.search(str(error))
    return found[1] if found else ""


def cancellation_codes(error: Exception) -> Sequence[str]:
    """Return the code of each action of a cancelled transaction; empty if it did not fail."""
    reasons = getattr(_cause(error), "cancellation_reasons", ())
    return [reason.code if reason else "" for reason in reasons]


def conflicting_items(lost: PreconditionFailedError) -> Sequence[Mapping[str, Any]]:
    """Return the DynamoDB items whose conditions did not hold, as far as AWS returned them."""
    error = lost.__cause__
    items = [
        reason.raw_item
        for reason in getattr(error, "cancellation_reasons", ())
        if reason and reason.raw_item
    ]
    # pynamodb wraps botocore's error and keeps only its code.
    answer = error and error.__cause__
    if isinstance(answer, botocore.exceptions.ClientError):
        item = cast(Mapping[str, Any], answer.response).get("Item")
        if item:
            items.append(item)
    return items


def _cause(error: Exception) -> Exception:
    return getattr(error, "cause", None) or error
