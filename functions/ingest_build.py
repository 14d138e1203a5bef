"""The worker of ingest jobs: SQS messages that name chunks to be built, or to be fetched."""

import json
from collections.abc import Mapping
from typing import Any

from functions.batch import answer
from ingest_queue.fetch import FetchCall
from ingest_queue.job import read_message
from ndlambda import runtime
from ndlambda.errors import MalformedBodyError


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:  # noqa: ARG001
    """Build or fetch the chunk of every message; the answer lists those to be delivered again."""
    built = runtime.current()

    def handle(body: str) -> None:
        value = _value(body)
        call = FetchCall.find(value)
        if call is not None:
            built.fetcher.run(call)
        else:
            built.ingest.build(*read_message(value))

    return answer(event, handle)


def _value(body: str) -> object:
    try:
        return json.loads(body)
    except ValueError as error:
        raise MalformedBodyError("The message is not JSON.") from error
