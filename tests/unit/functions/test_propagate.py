"""The worker of propagations and the schedule, called as AWS calls them."""

from types import SimpleNamespace
from typing import Any

import pytest

from functions import propagate, sweep
from ndlambda import runtime
from ndlambda.errors import MalformedBodyError, UpstreamThrottledError
from ndlambda.settings import Settings


class Propagation:
    """Notes what it is asked to run and fails as told."""

    def __init__(self, **failures: BaseException) -> None:
        self.ran: list[tuple[str, int]] = []
        self._failures = failures

    def run(self, body: str, receive_count: int) -> None:
        self.ran.append((body, receive_count))
        if body in self._failures:
            raise self._failures[body]


def record(body: str, count: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"messageId": f"m-{body}", "body": body, "eventSource": "aws:sqs"}
    if count is not None:
        found["attributes"] = {"ApproximateReceiveCount": str(count)}
    return found


def test_the_number_of_the_delivery_is_passed_on(monkeypatch):
    propagation = Propagation()
    monkeypatch.setattr(
        runtime, "current", lambda: SimpleNamespace(propagation=propagation, settings=Settings())
    )
    propagate.handler({"Records": [record("a", 4), record("b")]})
    assert sorted(propagation.ran) == [("a", 4), ("b", 1)]


def test_only_what_may_succeed_later_comes_back(monkeypatch):
    propagation = Propagation(
        slow=UpstreamThrottledError("slow"), poison=MalformedBodyError("?"), bug=KeyError("x")
    )
    monkeypatch.setattr(
        runtime, "current", lambda: SimpleNamespace(propagation=propagation, settings=Settings())
    )
    records = [record(body) for body in ("slow", "fine", "poison", "bug")]
    answer = propagate.handler({"Records": records})
    failed = [item["itemIdentifier"] for item in answer["batchItemFailures"]]
    assert failed == ["m-slow", "m-bug"]


def test_the_error_of_a_batch_of_one_is_raised(monkeypatch):
    """Seen to fail where it is only named in the answer, which Lambda ignores as we deploy it."""
    propagation = Propagation(
        slow=UpstreamThrottledError("slow"), poison=MalformedBodyError("?"), bug=KeyError("x")
    )
    built = SimpleNamespace(propagation=propagation, settings=Settings())
    monkeypatch.setattr(runtime, "current", lambda: built)
    for body, error in (("slow", UpstreamThrottledError), ("bug", KeyError)):
        with pytest.raises(error):
            propagate.handler({"Records": [record(body)]})
    assert propagate.handler({"Records": [record("poison")]}) == {"batchItemFailures": []}


def runtime_of(**sweeps) -> SimpleNamespace:
    return SimpleNamespace(sweeps=lambda: sweeps)


def test_the_schedule_looks_after_all_kinds_of_work(monkeypatch):
    built = runtime_of(deletions=lambda: 1, ingests=lambda: 4)
    monkeypatch.setattr(runtime, "current", lambda: built)
    assert sweep.handler({}) == {"deletions": 1, "ingests": 4}


def test_a_kind_that_fails_does_not_keep_the_schedule_from_the_others(monkeypatch):
    """Seen to fail where the first fault ends the run: ingest jobs are never swept."""
    swept: list[str] = []

    def fail() -> int:
        raise UpstreamThrottledError("slow")

    built = runtime_of(deletions=fail, folders=fail, ingests=lambda: swept.append("ingests"))
    monkeypatch.setattr(runtime, "current", lambda: built)
    with pytest.raises(ExceptionGroup) as raised:
        sweep.handler({})
    assert len(raised.value.exceptions) == 2
    assert swept == ["ingests"]
