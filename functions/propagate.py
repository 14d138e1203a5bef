"""The worker of propagations: its SQS messages name tasks and jobs in the table."""

from collections.abc import Mapping
from typing import Any

from functions.batch import answer_records, receive_count
from ndlambda import runtime


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Run the task of every message; return the messages to be redelivered."""
    propagation = runtime.current().propagation
    return answer_records(
        event, context, lambda record: propagation.run(record["body"], receive_count(record))
    )
