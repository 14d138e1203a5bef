"""The worker of ingest jobs: SQS messages that name chunks to be built, or to be fetched."""

import json
from collections.abc import Mapping
from typing import Any

from functions.batch import answer_records, receive_count
from ingest_queue.fetch.worker import FetchCall
from ingest_queue.jobs.job import read_message
from ndlambda import runtime
from ndlambda.errors import MalformedBodyError


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Build or fetch the chunk of every message; the answer lists those to be delivered again."""
    built = runtime.current()

    def handle(record: Mapping[str, Any]) -> None:
        value = _value(record["body"])
        call = FetchCall.find(value)
        if call is not None:
            built.ingest.fetcher.run(call, receive_count(record))
            return
        job, generation, chunk, attempt = read_message(value)
        built.ingest.jobs.build(job, generation, chunk, max(attempt, receive_count(record)))

    return answer_records(event, handle)


def _value(body: str) -> object:
    try:
        return json.loads(body)
    except ValueError as error:
        raise MalformedBodyError("The message is not JSON.") from error
