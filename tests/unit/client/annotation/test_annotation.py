"""What the client's annotations send, how often, and what they make of broken answers."""

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from ndlambda import errors
from ndlambda.client import Annotations, Answer, Request, RetryPolicy, connect
from ndlambda.space.box import Box
from ndlambda.wire.codecs.npy_array import encode_npy

OK = Answer(200, {}, b'{"voxels": 1}')


@dataclass
class Wire:
    """Gives prepared answers, the last one for ever, and notes requests; None is a lost answer."""

    answers: list[Answer | None]
    requests: list[Request] = field(default_factory=list)

    def send(self, request: Request) -> Answer:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise ConnectionResetError("lost on purpose")
        return answer

    def objects(self) -> Annotations:
        retry = RetryPolicy(attempts=3, sleep=lambda _: None)
        client = connect("http://fake.test", "key", transport=self, retry=retry)
        return client.annotations("tok", "ch")


def told(document: Any) -> Answer:
    return Answer(200, {}, json.dumps(document).encode())


SEED = {"id": 1, "type": "seed"}


@pytest.mark.parametrize("call", [
    lambda objects: objects.create(type="segment"),
    lambda objects: objects.reserve(5),
    lambda objects: objects.update(1, if_version=3, status=2),
    lambda objects: objects.replace(SEED, if_version=3),
], ids=["create", "reserve", "update", "replace"])  # fmt: skip
def test_what_would_be_done_twice_is_not_sent_again_when_its_answer_is_lost(call):
    """Seen to fail (three requests) with ``repeatable=False`` taken out of each."""
    wire = Wire([None])
    with pytest.raises(errors.UpstreamError):
        call(wire.objects())
    assert len(wire.requests) == 1


@pytest.mark.parametrize(("call", "answer"), [
    (lambda objects: objects.update(1, status=2), {"id": 1, "version": 4}),
    (lambda objects: objects.replace(SEED), {"id": 1, "version": 4}),
    (lambda objects: objects.merge([1, 2]), {"id": 1, "version": 4}),
    (lambda objects: objects.paint_voxels(1, [[1, 2, 3]]), {}),
    (lambda objects: objects.paint(1, (1, 2, 3), np.ones((1, 1, 1))), {}),
    (lambda objects: objects.query(), {"ids": []}),
], ids=["update", "replace", "merge", "paint voxels", "paint", "query"])  # fmt: skip
def test_what_may_be_repeated_is_sent_again(call, answer):
    wire = Wire([None, told(answer)])
    call(wire.objects())
    assert len(wire.requests) == 2


def test_a_version_is_insisted_on_by_if_match():
    wire = Wire([told({"id": 1})])
    wire.objects().update(1, if_version=7, status=2)
    wire.objects().update(1, status=2)
    first, second = wire.requests
    assert (first.method, first.headers["If-Match"]) == ("PATCH", '"7"')
    assert "If-Match" not in second.headers
    assert first.headers["Content-Type"] == "application/json"


def test_names_are_quoted_in_paths_and_questions():
    wire = Wire([told({"ids": []})])
    retry = RetryPolicy(attempts=1)
    client = connect("http://fake.test", None, transport=wire, retry=retry)
    client.annotations("a/b", "c?d").query(pairs={"x&y": "1=2"}, author="A B")
    assert wire.requests[0].url == (
        "http://fake.test/v1/projects/a%2Fb/channels/c%3Fd/annotations?pair.x%26y=1%3D2&author=A+B"
    )


def test_many_objects_are_deleted_in_few_requests():
    wire = Wire([told({"pending": [3, 5]}), Answer(204, {}, b"")])
    assert wire.objects().delete_many(range(1, 15_001)) == [3, 5]
    first, second = (json.loads(request.body)["ids"] for request in wire.requests)
    assert (first, second) == ([*range(1, 10_001)], [*range(10_001, 15_001)])


def test_long_lists_and_large_masks_are_sent_in_parts():
    wire = Wire([OK])
    wire.objects().paint_voxels(1, np.zeros((600_000, 3), "u4"))
    assert len(wire.requests) == 3
    assert max(len(request.body or b"") for request in wire.requests) < 4 << 20
    wire = Wire([OK])
    mask = np.zeros((200, 300, 300), np.bool_)
    mask[0, 0, 0] = mask[-1, -1, -1] = True
    wire.objects().paint(1, (5, 0, 0), mask)
    assert len(wire.requests) == 2
    wire.requests.clear()
    wire.objects().paint(1, (5, 0, 0), np.zeros((2, 2, 2)))
    assert wire.requests == []


def test_deleting_tells_whether_voxels_are_erased_already():
    assert Wire([Answer(204, {}, b"")]).objects().delete(1)
    assert not Wire([Answer(202, {}, b'{"pending": [1]}')]).objects().delete(1)


@pytest.mark.parametrize("body", [
    b"<html>", encode_npy(np.ones((2, 3))), encode_npy(np.ones((2, 3, 1, 1), "u4")),
    encode_npy(np.ones((2, 3), "u4"))[:-1],
], ids=["text", "reals", "four axes", "cut"])  # fmt: skip
@pytest.mark.parametrize("call", [
    lambda objects: objects.voxels(1), lambda objects: objects.cutout(1),
    lambda objects: objects.exceptions(),
], ids=["voxels", "cutout", "exceptions"])  # fmt: skip
def test_an_answer_that_is_no_array_is_told_as_such(call, body):
    with pytest.raises(errors.IntegrityError):
        call(Wire([Answer(200, {}, body)]).objects())


def test_a_mask_without_its_corner_is_no_answer_unless_a_box_was_asked_for():
    objects = Wire([Answer(200, {}, encode_npy(np.ones((1, 1, 1), "?")))]).objects()
    with pytest.raises(errors.IntegrityError):
        objects.cutout(1)
    assert objects.cutout(1, Box.at((4, 5, 6), (1, 1, 1))).corner_xyz == (4, 5, 6)
