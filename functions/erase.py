"""The worker of deletions: its SQS messages name deletion jobs to run or to watch."""

from collections.abc import Mapping
from typing import Any

from functions.batch import answer_records, receive_count
from ndlambda import runtime


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Run the job of every message; return the messages to be redelivered."""
    deletion = runtime.current().deletion
    return answer_records(
        event, context, lambda record: deletion.handle(record["body"], receive_count(record))
    )
