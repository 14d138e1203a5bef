"""The worker of propagations and the schedule, called as AWS calls them."""

from types import SimpleNamespace
from typing import Any

import pytest

from functions import propagate, resend
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

    def resend_pending(self) -> int:
        return 2


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


def runtime_of(erase, drop, fetch, jobs) -> SimpleNamespace:
    sweeper = SimpleNamespace(sweep_all=jobs)
    ingest = SimpleNamespace(
        jobs=SimpleNamespace(sweeper=sweeper),
        drop=SimpleNamespace(sweep=drop),
        fetcher=SimpleNamespace(sweep=fetch),
    )
    deletion = SimpleNamespace(resend_pending=erase)
    return SimpleNamespace(propagation=Propagation(), deletion=deletion, ingest=ingest)


def test_the_schedule_looks_after_all_jobs(monkeypatch):
    built = runtime_of(lambda: 1, lambda: 3, lambda: 5, lambda: 4)
    monkeypatch.setattr(runtime, "current", lambda: built)
    assert resend.handler({}) == {
        "erasures": 1, "propagations": 2, "waiting folders": 3, "fetched ingests": 5, "ingests": 4,
    }  # fmt: skip


def test_a_kind_that_fails_does_not_keep_the_schedule_from_the_others(monkeypatch):
    """Seen to fail where the first fault ends the run: ingest jobs are never swept."""
    swept: list[str] = []

    def fail() -> int:
        raise UpstreamThrottledError("slow")

    sweeps = [lambda kind=kind: swept.append(kind) for kind in ("fetches", "ingests")]
    monkeypatch.setattr(runtime, "current", lambda: runtime_of(fail, fail, *sweeps))
    with pytest.raises(ExceptionGroup) as raised:
        resend.handler({})
    assert len(raised.value.exceptions) == 2
    assert swept == ["fetches", "ingests"]
