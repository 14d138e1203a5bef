"""Equal messages at once are handled by one thread, and none is forgotten."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from ndlambda.local.merged import Merged

DONE = {"batchItemFailures": []}
FAILED = {"batchItemFailures": [{"itemIdentifier": "1"}]}
PATIENCE_S = 10


def event(body):
    return {"Records": [{"messageId": "1", "body": body}]}


class Work:
    """A handler that waits in its first call until it is let go."""

    def __init__(self, answer=DONE):
        self.bodies, self.answer = [], answer
        self.begun, self.may_end = Event(), Event()

    def __call__(self, event, context):
        self.bodies.append(event["Records"][0]["body"])
        if len(self.bodies) == 1:
            self.begun.set()
            assert self.may_end.wait(PATIENCE_S)
        return self.answer


@pytest.mark.parametrize(("answer", "handled"), [(DONE, ["a", "a"]), (FAILED, ["a"])])
def test_what_another_thread_is_at_is_left_to_it(answer, handled):
    """The other looks again at its end, unless it failed: then the message comes back by itself.
    Seen to fail without the look at what is under way: all three were handled at once."""
    work = Work(answer)
    merged = Merged(work)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(merged, event("a"), None)
        assert work.begun.wait(PATIENCE_S)
        assert [merged(event("a"), None) for _ in range(2)] == [DONE, DONE]
        assert work.bodies == ["a"]
        work.may_end.set()
        assert first.result(PATIENCE_S) == answer
    assert work.bodies == handled


def test_other_messages_do_not_wait():
    work = Work()
    merged = Merged(work)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(merged, event("a"), None)
        assert work.begun.wait(PATIENCE_S)
        merged(event("b"), None)
        work.may_end.set()
    assert work.bodies == ["a", "b"]
    merged(event("a"), None)
    assert work.bodies == ["a", "b", "a"], "handled again after its end"


def test_a_message_whose_handler_failed_is_not_taken_for_under_way():
    """Seen to fail without the clearing: the second call was left to a thread that was gone."""

    def fail(event, context):
        raise OSError("no disk")

    merged = Merged(fail)
    for _ in range(2):
        with pytest.raises(OSError, match="no disk"):
            merged(event("a"), None)
