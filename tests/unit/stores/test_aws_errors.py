from typing import Any

import botocore.exceptions
import obstore.exceptions
import pytest
from pynamodb.exceptions import CancellationReason, QueryError, VerboseClientError

from ndlambda.errors import (
    PreconditionFailedError,
    UpstreamError,
    UpstreamThrottledError,
    UpstreamTimeoutError,
    WriteContentionError,
)
from ndlambda.stores.aws.errors import AWS_ERRORS, translate


def said_by_aws(code: str, status: int = 400) -> Exception:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(answer, "Operation")


def said_by_obstore(status: int, body: str = "") -> Exception:
    return obstore.exceptions.GenericError(
        f"Generic S3 error: Error performing GET http://... - Server returned non-2xx "
        f"status code: {status} Some Reason: {body}"
    )


BOTO, OBSTORE, THROTTLED = botocore.exceptions, obstore.exceptions, UpstreamThrottledError
NO_BUCKET = "status code: 404: <Code>NoSuchBucket</Code>"
AWS = "http://..."


@pytest.mark.parametrize(("error", "kind", "is_transient"), [
    (said_by_aws("ConditionalCheckFailedException"), PreconditionFailedError, False),
    (said_by_aws("PreconditionFailed", 412), PreconditionFailedError, False),
    (said_by_aws("ConditionalRequestConflict", 409), PreconditionFailedError, False),
    (said_by_aws("TransactionConflictException"), WriteContentionError, True),
    (said_by_aws("ProvisionedThroughputExceededException"), THROTTLED, True),
    (said_by_aws("ThrottlingException"), THROTTLED, True),
    (said_by_aws("SlowDown", 503), THROTTLED, True),
    (said_by_aws("NeverHeardOf", 503), THROTTLED, True),
    (said_by_aws("NeverHeardOf", 500), UpstreamError, True),
    (said_by_aws("InternalServerError", 500), UpstreamError, True),
    (said_by_aws("RequestTimeout"), UpstreamTimeoutError, True),
    (said_by_aws("AccessDenied", 403), UpstreamError, False),
    (said_by_aws("ValidationException"), UpstreamError, False),
    (said_by_aws("NoSuchBucket", 404), UpstreamError, False),
    (QueryError("", said_by_aws("ThrottlingException")), THROTTLED, True),
    (BOTO.ReadTimeoutError(endpoint_url=AWS), UpstreamTimeoutError, True),
    (BOTO.EndpointConnectionError(endpoint_url=AWS), UpstreamError, True),
    (BOTO.NoCredentialsError(), UpstreamError, False),
    (OBSTORE.PreconditionError("..."), PreconditionFailedError, False),
    (OBSTORE.AlreadyExistsError("..."), PreconditionFailedError, False),
    (OBSTORE.PermissionDeniedError("..."), UpstreamError, False),
    (said_by_obstore(503), THROTTLED, True),
    (said_by_obstore(503, "<Code>SlowDown</Code>"), THROTTLED, True),
    (said_by_obstore(429), THROTTLED, True),
    (said_by_obstore(500, "<Code>InternalError</Code>"), UpstreamError, True),
    (said_by_obstore(400, "<Code>RequestTimeout</Code>"), UpstreamTimeoutError, True),
    (said_by_obstore(418), UpstreamError, False),
    (OBSTORE.PreconditionError(NO_BUCKET.replace("Bucket", "Key")), PreconditionFailedError, False),
    (OBSTORE.PreconditionError(NO_BUCKET), UpstreamError, False),
    (FileNotFoundError(NO_BUCKET), UpstreamError, False),
], ids=lambda value: str(value)[:60] if isinstance(value, Exception) else "")  # fmt: skip
def test_an_error_of_aws_means(error, kind, is_transient):
    assert isinstance(error, AWS_ERRORS)
    failure = translate(error, "GetItem")
    assert type(failure.error) is kind
    assert failure.is_transient is is_transient
    assert "GetItem" in failure.error.message


def cancelled(*codes: str | None) -> Exception:
    return VerboseClientError(
        {"Error": {"Code": "TransactionCanceledException"}},
        "TransactWriteItems",
        cancellation_reasons=[CancellationReason(code) if code else None for code in codes],
    )


def test_a_cancelled_transaction_names_the_rows_that_are_not_as_expected():
    error = cancelled(None, "ConditionalCheckFailed", "TransactionConflict", None)
    failure = translate(error, "TransactWriteItems")
    assert type(failure.error) is PreconditionFailedError
    assert failure.error.details["failed"] == [1]
    assert not failure.is_transient


@pytest.mark.parametrize(("code", "kind", "is_transient"), [
    ("TransactionConflict", WriteContentionError, True),
    ("ThrottlingError", UpstreamThrottledError, True),
    ("ProvisionedThroughputExceeded", UpstreamThrottledError, True),
    ("ValidationError", UpstreamError, False),
])  # fmt: skip
def test_a_transaction_is_cancelled_for_other_reasons(code, kind, is_transient):
    failure = translate(cancelled(None, code), "TransactWriteItems")
    assert type(failure.error) is kind
    assert failure.is_transient is is_transient
