"""The worker of propagations: SQS messages that name tasks and jobs in the table."""

from collections.abc import Mapping
from typing import Any

from functions.batch import answer_records, receive_count
from ndlambda import runtime


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Do what every message asks for; the answer lists those to be delivered again."""
    propagation = runtime.current().propagation
    return answer_records(
        event, lambda record: propagation.run(record["body"], receive_count(record))
    )
