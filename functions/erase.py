"""The worker of deletions: its SQS messages name deletion jobs in the table."""

from collections.abc import Mapping
from typing import Any

from functions.batch import answer
from ndlambda import runtime
from ndlambda.services.catalog.deletion_jobs import job_id_of


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Run the job of every message; return the messages to be redelivered."""
    erasure = runtime.current().deletion
    return answer(event, context, lambda body: erasure.run(job_id_of(body)))
