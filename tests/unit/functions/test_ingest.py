"""The workers of ingest, called as AWS calls them."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from functions import ingest_build, s3_drop
from ndlambda import runtime
from ndlambda.errors import UpstreamThrottledError
from ndlambda.settings import Settings


@pytest.fixture
def noticed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    keys: list[str] = []

    def notice(key: str) -> None:
        if key == "slow":
            raise UpstreamThrottledError("slow")
        keys.append(key)

    built = SimpleNamespace(
        settings=Settings(),
        ingest=SimpleNamespace(drop=SimpleNamespace(on_object_created=notice)),
    )
    monkeypatch.setattr(runtime, "current", lambda: built)
    return keys


def notification(*keys: str) -> dict[str, Any]:
    return {"Records": [{"eventSource": "aws:s3", "s3": {"object": {"key": k}}} for k in keys]}


def sqs(*bodies: str) -> dict[str, Any]:
    return {"Records": [{"messageId": f"m{i}", "body": body} for i, body in enumerate(bodies)]}


def test_keys_of_notifications_are_decoded(noticed):
    event = sqs(json.dumps(notification("drop/a+b/%C3%A4/0001.png", "two")))
    assert s3_drop.handler(event) == {"batchItemFailures": []}
    assert noticed == ["drop/a b/ä/0001.png", "two"]


def test_a_notification_without_a_queue_between_is_taken_too(noticed):
    assert s3_drop.handler(notification("one", "a%2Bb")) == {"batchItemFailures": []}
    assert noticed == ["one", "a+b"]
    with pytest.raises(UpstreamThrottledError):
        s3_drop.handler(notification("slow"))


@pytest.mark.parametrize(
    "body", ['{"Service": "Amazon S3", "Event": "s3:TestEvent"}', "no JSON", "[]", '{"Records": 1}']
)
def test_what_tells_of_no_object_is_done_with(noticed, body):
    assert s3_drop.handler(sqs(body)) == {"batchItemFailures": []}
    assert noticed == []


def test_what_may_succeed_later_comes_back(noticed):
    event = sqs(json.dumps(notification("slow")), json.dumps(notification("fine")))
    assert s3_drop.handler(event) == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    assert noticed == ["fine"]


@pytest.fixture
def built(monkeypatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []
    jobs = SimpleNamespace(build=lambda *call: calls.append(call))
    world = SimpleNamespace(settings=Settings(), ingest=SimpleNamespace(jobs=jobs))
    monkeypatch.setattr(runtime, "current", lambda: world)
    return calls


def test_calls_are_built_and_others_are_done_with(built):
    good = '{"v": 1, "job": "abc", "gen": 2, "chunk": 3}'
    event = sqs(good, "no JSON", '{"v": 2}', '{"v": 1, "job": 1, "gen": 2, "chunk": 3}')
    assert ingest_build.handler(event) == {"batchItemFailures": []}
    assert built == [("abc", 2, 3, 1)]


@pytest.mark.parametrize(("told", "count", "attempt"), [({}, 3, 3), (2, 1, 2), (2, 4, 4)])
def test_a_call_that_comes_back_is_another_try(built, told, count, attempt):
    call = {"v": 1, "job": "abc", "gen": 2, "chunk": 3} | (told and {"try": told})
    event = sqs(json.dumps(call))
    event["Records"][0]["attributes"] = {"ApproximateReceiveCount": str(count)}
    assert ingest_build.handler(event) == {"batchItemFailures": []}
    assert built == [("abc", 2, 3, attempt)]
