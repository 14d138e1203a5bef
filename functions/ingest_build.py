"""The worker of ingest jobs: SQS messages that name chunks to be built."""

import json
from collections.abc import Mapping
from typing import Any

from functions.batch import answer
from ingest_queue.job import read_message
from ndlambda import runtime
from ndlambda.errors import MalformedBodyError


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:  # noqa: ARG001
    """Build the chunk of every message; the answer lists those to be delivered again."""
    ingest = runtime.current().ingest
    return answer(event, lambda body: ingest.build(*read_message(_value(body))))


def _value(body: str) -> object:
    try:
        return json.loads(body)
    except ValueError as error:
        raise MalformedBodyError("The message is not JSON.") from error
