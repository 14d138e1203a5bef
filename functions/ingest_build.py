"""The worker of ingest jobs: its SQS messages name chunks to build or fetch, and jobs to watch."""

import json
from collections.abc import Mapping
from typing import Any

from functions.batch import answer_records, receive_count
from ingest_queue.fetch.worker import FetchTask
from ingest_queue.jobs.job import read_message
from ndlambda import runtime
from ndlambda.errors import MalformedBodyError
from ndlambda.services.support.watch import WatchMessage


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Do what every message asks for; return the messages to be redelivered."""
    built = runtime.current()

    def handle(record: Mapping[str, Any]) -> None:
        watch = WatchMessage.find(record["body"])
        if watch is not None:
            built.ingest.jobs.watch(watch, receive_count(record))
            return
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
