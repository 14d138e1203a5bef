"""The worker of the drop store: receives S3 notifications, through SQS or directly.

Its queue also brings the watch messages of folders that wait for something.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

from functions.batch import answer_records, receive_count
from ndlambda import runtime
from ndlambda.errors import MalformedBodyError
from ndlambda.services.support.watch import WatchMessage

_TEST = "s3:TestEvent"


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Handle every created object and watched folder; return the messages to be redelivered."""
    drop = runtime.current().ingest.drop
    if any("s3" in record for record in event.get("Records", ())):
        for key in keys_of(event):  # without a queue, AWS retries an event that fails
            drop.on_object_created(key)
        return {"batchItemFailures": []}

    def handle(record: Mapping[str, Any]) -> None:
        watch = WatchMessage.find(record["body"])
        if watch is not None:
            drop.watch(watch, receive_count(record))
            return
        for key in keys_of(_document(record["body"])):
            drop.on_object_created(key)

    return answer_records(event, context, handle)


def keys_of(event: Mapping[str, Any]) -> Iterator[str]:
    """Iterate over the keys of the objects of an S3 notification.

    Raises
    ------
    MalformedBodyError
        It is not an S3 notification.
    """
    if event.get("Event") == _TEST:  # sent once when notifications are turned on
        return
    try:
        for record in event["Records"]:
            yield unquote_plus(record["s3"]["object"]["key"])
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedBodyError("The message is not an S3 notification.") from error


def _document(body: str) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise MalformedBodyError("The message is not JSON.") from error
    if not isinstance(document, Mapping):
        raise MalformedBodyError("The message is not an S3 notification.")
    return document
