"""The worker of deletions, called as AWS calls it."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from functions import erase
from ndlambda import runtime
from ndlambda.errors import IntegrityError, UpstreamThrottledError
from ndlambda.services.catalog.deletion_job import read_message
from ndlambda.settings import Settings


class Erasure:
    """Notes the jobs that it is asked to run and fails as told."""

    def __init__(self, **failures: BaseException) -> None:
        self.ran: set[str] = set()
        self._failures = failures

    def handle(self, body: str, receive_count: int) -> None:
        job_id = read_message(body).job_id
        self.ran.add(job_id)
        if job_id in self._failures:
            raise self._failures[job_id]


def answer(monkeypatch: pytest.MonkeyPatch, erasure: Erasure, *bodies: str) -> list[str]:
    monkeypatch.setattr(
        runtime, "current", lambda: SimpleNamespace(deletion=erasure, settings=Settings())
    )
    records: list[dict[str, Any]] = [
        {"messageId": f"m{number}", "body": body, "eventSource": "aws:sqs"}
        for number, body in enumerate(bodies)
    ]
    failures = erase.handler({"Records": records})["batchItemFailures"]
    return [failure["itemIdentifier"] for failure in failures]


def body(job_id: str) -> str:
    return json.dumps({"v": 1, "job": job_id})


def test_every_job_named_is_run(monkeypatch):
    erasure = Erasure()
    assert answer(monkeypatch, erasure, body("a"), body("b")) == []
    assert erasure.ran == {"a", "b"}


def test_only_what_may_succeed_later_comes_back(monkeypatch):
    erasure = Erasure(
        slow=UpstreamThrottledError("slow"), broken=IntegrityError("broken"), unknown=KeyError("x")
    )
    names = ("slow", "fine", "broken", "unknown")
    assert answer(monkeypatch, erasure, *map(body, names)) == ["m0", "m3"]
    assert erasure.ran == set(names)


@pytest.mark.parametrize(
    "poison",
    ["", "{", "[]", "null", "{}", '{"v": 2, "job": "a"}', '{"v": 1}', '{"v": 1, "job": 3}'],
)
def test_a_message_that_is_not_ours_is_done_with(monkeypatch, poison):
    erasure = Erasure()
    assert answer(monkeypatch, erasure, poison, body("a")) == []
    assert erasure.ran == {"a"}


def test_a_later_version_of_a_message_may_say_more():
    assert read_message('{"v": 1, "job": "a", "note": "more"}').job_id == "a"
