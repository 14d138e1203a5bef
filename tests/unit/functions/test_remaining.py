"""Functions answer before they are killed."""

import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from functions import batch, http
from functions.remaining import remaining_s
from ndlambda import deadline, runtime
from ndlambda.settings import Settings


def context(left_s: float) -> Any:
    return SimpleNamespace(get_remaining_time_in_millis=lambda: int(left_s * 1000))


@pytest.mark.parametrize(
    ("given", "seconds"), [(context(900), 870), (context(40), 20), (context(0), 0), (None, 300)]
)
def test_a_margin_is_kept_of_what_is_left(given, seconds):
    assert remaining_s(given, margin_s=30, otherwise_s=300) == seconds


@pytest.fixture
def hung(monkeypatch):
    monkeypatch.setattr(runtime, "current", lambda: SimpleNamespace(settings=Settings()))
    monkeypatch.setattr(batch, "_GRACE_S", 0.0)
    released = threading.Event()
    yield released
    released.set()


def test_a_message_whose_work_hangs_is_returned_in_time(hung):
    def handle(record: Any) -> None:
        if record["body"] == "hangs":
            hung.wait(5)

    records = [{"messageId": body, "body": body} for body in ("hangs", "fine")]
    failed = batch.answer_records({"Records": records}, context(0.2), handle)
    assert failed == {"batchItemFailures": [{"itemIdentifier": "hangs"}]}


def test_a_worker_stops_at_the_time_of_its_function(hung):
    seen: list[float] = []
    record = {"messageId": "1", "body": ""}
    batch.answer_records(
        {"Records": [record]}, context(900), lambda _: seen.append(deadline.at_most(1e9))
    )
    batch.answer_records({"Records": [record]}, None, lambda _: seen.append(deadline.at_most(1e9)))
    assert seen == [pytest.approx(870, abs=60), pytest.approx(300, abs=60)]


def test_a_request_that_hangs_is_answered_while_the_gateway_waits(hung, monkeypatch):
    monkeypatch.setattr(http, "_wsgi_handler", lambda: lambda *_: hung.wait())
    event = {
        "version": "1.0", "httpMethod": "GET", "path": "/", "headers": {}, "multiValueHeaders": {},
        "queryStringParameters": None, "multiValueQueryStringParameters": None, "body": None,
        "isBase64Encoded": False, "requestContext": {},
    }  # fmt: skip
    answer = http.handler(event, context(0.01))
    assert answer["statusCode"] == 503
    assert answer["multiValueHeaders"]["Retry-After"] == ["5"]
    assert json.loads(answer["body"])["type"] == "urn:ndlambda:error:DeadlineExceededError"
