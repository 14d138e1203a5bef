"""The worker of ingest jobs: its SQS messages name chunks to build, or to fetch."""

import json
from collections.abc import Mapping
from typing import Any

from functions.batch import answer_records, receive_count
from ingest_queue.fetch.worker import FetchTask
from ingest_queue.jobs.job import read_message
from ndlambda import runtime
from ndlambda.errors import MalformedBodyError


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Build or fetch the chunk of every message; return the messages to be redelivered."""
    built = runtime.current()

    def handle(record: Mapping[str, Any]) -> None:
        value = _value(record["body"])
        task = FetchTask.find(value)
        if task is not None:
            built.ingest.fetcher.run(task, receive_count(record))
            return
        job, generation, chunk, attempt = read_message(value)
        built.ingest.jobs.build(job, generation, chunk, max(attempt, receive_count(record)))

    return answer_records(event, context, handle)


def _value(body: str) -> object:
    try:
        return json.loads(body)
    except ValueError as error:
        raise MalformedBodyError("The message is not JSON.") from error
