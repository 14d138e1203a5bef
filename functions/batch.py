"""Handles batches of SQS messages and reports the failed ones."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ndlambda.errors import NDLambdaError
from ndlambda.trace import span

_THREADS = 4

logger = logging.getLogger("ndlambda.worker")


def receive_count(record: Mapping[str, Any]) -> int:
    """Return the number of this delivery of a message, from 1."""
    return int(record.get("attributes", {}).get("ApproximateReceiveCount", 1))


def answer_records(
    event: Mapping[str, Any], handle: Callable[[Mapping[str, Any]], None]
) -> dict[str, Any]:
    """Handle every record and return the failed ones to SQS.

    Messages with a retryable or unknown error are redelivered; an unknown error that persists ends
    in the dead-letter queue. Any other error of ours would only repeat: it is logged and the
    message is consumed. The work itself stays recorded in the table.

    The error of a batch of one is raised: an event source without ``ReportBatchItemFailures`` (as
    Chalice deploys it) ignores the answer, and would consume the message.
    """
    records = event["Records"]

    def run(record: Mapping[str, Any]) -> None:
        with span("task", message=record["messageId"], queue=record.get("eventSourceARN", "")):
            handle(record)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="worker") as pool:
        futures = {record["messageId"]: pool.submit(run, record) for record in records}
    failed = []
    for message_id, future in futures.items():
        error = future.exception()
        if error is None:
            continue
        is_retried = not isinstance(error, NDLambdaError) or error.retryable
        logger.error(
            "message failed",
            exc_info=error,
            extra={"fields": {"message": message_id, "again": is_retried}},
        )
        if is_retried and len(records) == 1:
            raise error
        if is_retried:
            failed.append(message_id)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}
