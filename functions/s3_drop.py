"""The worker of the drop store: notifications of S3, by way of SQS or as they are."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

from functions.batch import answer
from ndlambda import runtime
from ndlambda.errors import MalformedBodyError

_TEST = "s3:TestEvent"


def handler(event: Mapping[str, Any], context: object = None) -> dict[str, Any]:
    """Notice every object that was made; the answer lists the messages to be delivered again."""
    notice = runtime.current().ingest.drop.notice
    if any("s3" in record for record in event.get("Records", ())):
        for key in keys_of(event):  # without a queue between, AWS repeats an event that fails
            notice(key)
        return {"batchItemFailures": []}

    def notice_all(body: str) -> None:
        for key in keys_of(_document(body)):
            notice(key)

    return answer(event, notice_all)


def keys_of(event: Mapping[str, Any]) -> Iterator[str]:
    """Iterate over the keys of objects that a notification of S3 tells of.

    Raises
    ------
    MalformedBodyError
        It is none.
    """
    if event.get("Event") == _TEST:  # sent once when notifications are turned on
        return
    try:
        for record in event["Records"]:
            yield unquote_plus(record["s3"]["object"]["key"])
    except (KeyError, TypeError, AttributeError) as error:
        raise MalformedBodyError("The message is no notification of S3.") from error


def _document(body: str) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise MalformedBodyError("The message is not JSON.") from error
    if not isinstance(document, Mapping):
        raise MalformedBodyError("The message is no notification of S3.")
    return document
