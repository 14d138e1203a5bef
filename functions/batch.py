"""Handles batches of SQS messages and reports the failed ones."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from functions.remaining import remaining_s
from ndlambda import runtime
from ndlambda.deadline import Deadline, Threads, finish_in_time
from ndlambda.errors import NDLambdaError
from ndlambda.trace import span

_THREADS = 4
_MARGIN_S = 30.0
"""Kept to stop, to write down how far the work is, and to return the message."""
_GRACE_S = 5.0

logger = logging.getLogger("ndlambda.worker")


def receive_count(record: Mapping[str, Any]) -> int:
    """Return the number of this delivery of a message, from 1."""
    return int(record.get("attributes", {}).get("ApproximateReceiveCount", 1))


def answer_records(
    event: Mapping[str, Any], context: object, handle: Callable[[Mapping[str, Any]], None]
) -> dict[str, Any]:
    """Handle every record and return the failed ones to SQS, before the function's time is up.

    Messages with a retryable or unknown error are redelivered; an unknown error that persists ends
    in the dead-letter queue. Any other error of ours would only repeat: it is logged and the
    message is consumed. The work itself stays recorded in the table. Work that its deadline stopped
    is redelivered and goes on from what is stored.

    The error of a batch of one is raised: an event source without ``ReportBatchItemFailures`` (as
    Chalice deploys it) ignores the answer, and would consume the message.
    """
    records = event["Records"]
    limit_s = runtime.current().settings.deadline_s
    deadline = Deadline.after(remaining_s(context, margin_s=_MARGIN_S, otherwise_s=limit_s))

    def run(record: Mapping[str, Any]) -> None:
        message, queue = record["messageId"], record.get("eventSourceARN", "")
        with span("task", message=message, queue=queue), deadline.running():
            finish_in_time(partial(handle, record), _GRACE_S)

    with Threads(_THREADS, thread_name_prefix="worker") as pool:
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
