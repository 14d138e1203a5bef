"""What clients of ingest ask for; the tests of the command hold the other methods."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from ndlambda import client as nd
from ndlambda import errors

JOB = "0123456789abcdef"
JOBS = "/v1/ingest"


@dataclass
class Way:
    """Answers by method and path under the server's root, and keeps what was asked."""

    answers: dict[tuple[str, str], Callable[[nd.Request], tuple[int, Any]]]
    asked: list[nd.Request] = field(default_factory=list)

    def send(self, request: nd.Request) -> nd.Answer:
        self.asked.append(request)
        path = request.url.removeprefix("http://s.test")
        answer = self.answers.get((request.method, path))
        status, document = answer(request) if answer else (404, {"detail": f"no {path}"})
        return nd.Answer(status, {}, json.dumps(document).encode())


def client(answers: dict[str, Any]) -> tuple[nd.Client, Way]:
    """Return a client; answers are ``METHOD path``: document, or (status, document)."""
    made = {}
    for asked, answer in answers.items():
        method, _, path = asked.partition(" ")
        whole = answer if isinstance(answer, tuple) else (200, answer)
        made[method, path] = lambda _, whole=whole: whole
    way = Way(made)
    policy = nd.RetryPolicy(attempts=2, sleep=lambda _: None, dice=lambda: 0.0)
    return nd.connect("http://s.test", "key", transport=way, retry=policy), way


@pytest.mark.parametrize(("wishes", "times"), [({}, 1), ({"id": JOB}, 2)])
def test_only_a_job_with_an_id_is_asked_for_twice(wishes, times):
    there, way = client({f"POST {JOBS}": (502, {})})
    with pytest.raises(errors.UpstreamError):
        there.ingest.create("tok", "em", **wishes)
    assert len(way.asked) == times


def test_a_job_that_is_not_there_is_not_found():
    there, _ = client({f"GET {JOBS}/{JOB}": {"id": JOB}})
    assert there.ingest.find(JOB) == {"id": JOB}
    assert there.ingest.find("other") is None
    with pytest.raises(errors.NotFoundError):
        there.ingest.get("../users")


def test_missing_chunks_come_page_by_page():
    pages = {"-1": {"missing": [0, 2], "next": 2}, "2": {"missing": [7], "next": None}}
    path = f"GET {JOBS}/{JOB}/missing?after="
    there, way = client({f"{path}{after}&limit=10000": page for after, page in pages.items()})
    missing = there.ingest.missing(JOB)
    assert next(missing) == 0
    assert len(way.asked) == 1
    assert list(missing) == [2, 7]


def test_parts_go_through_the_server_or_past_it_and_the_key_stays_with_the_server():
    own, theirs = f"{JOBS}/{JOB}/parts/3/data.blosc", "https://bucket.test/x?signature=1"
    late = "https://late.test/"
    there, way = client({f"PUT {own}": (201, {}), f"PUT {theirs}": {}, f"PUT {late}": (403, {})})
    there.ingest.upload_part(JOB, 3, "data.blosc", b"voxels")
    there.ingest.upload_to({"url": own, "with_key": True}, b"voxels")
    there.ingest.upload_to({"url": theirs, "with_key": False}, b"v")
    with pytest.raises(errors.PermissionDeniedError):
        there.ingest.upload_to({"url": late, "with_key": True}, b"voxels")
    keys = [request.headers.get("Authorization") for request in way.asked]
    assert keys == ["Token key", "Token key", None, None]
    assert {request.body for request in way.asked} == {b"voxels", b"v"}


def test_a_job_is_followed_to_its_end():
    states = ["CREATED", "INGESTING", "COMPLETE_WITH_ERRORS"]
    there, way = client({})
    left, slept = iter(states), []
    way.answers["GET", f"{JOBS}/{JOB}"] = lambda _: (200, {"state": next(left)})
    assert [job["state"] for job in there.ingest.follow(JOB, 2.0, slept.append)] == states
    assert slept == [2.0, 2.0]
