"""The contract of ``Queue``; subclassed like ``ObjectStoreContract``."""

from collections.abc import Callable, Sequence

import pytest

from ndlambda.errors import PayloadTooLargeError
from ndlambda.stores.ports import MAX_MESSAGE_BYTES, Message, Queue
from ndlambda.testing.threads import run_together


class QueueContract:
    """Override ``queue`` and, if its clock can be moved, ``advance`` (else ``can_move_time``).

    ``queue`` is empty, of the test's own, and gives up after ``max_receives`` deliveries.
    """

    max_receives = 3
    can_move_time = True

    @pytest.fixture
    def queue(self) -> Queue:
        raise NotImplementedError

    @pytest.fixture
    def advance(self) -> Callable[[float], None]:
        """Return what moves the queue's clock forward by seconds."""
        if not self.can_move_time:
            pytest.skip("the clock of this queue cannot be moved")
        raise NotImplementedError

    def test_an_empty_queue_gives_nothing(self, queue: Queue) -> None:
        assert not queue.receive()
        assert not queue.dead_letters()
        assert queue.redrive() == 0

    def test_a_message_is_delivered_and_acknowledged(self, queue: Queue) -> None:
        queue.send(['{"version": 1, "text": "ünïcode 🧠"}'])
        (message,) = queue.receive()
        assert message.body == '{"version": 1, "text": "ünïcode 🧠"}'
        assert message.receive_count == 1
        assert message.id
        queue.ack([message.receipt])
        assert not queue.receive(visibility_s=0)

    def test_a_message_that_is_not_hidden_is_delivered_once_in_one_call(self, queue: Queue) -> None:
        queue.send(["body"])
        assert len(queue.receive(visibility_s=0)) == 1

    def test_sending_nothing_is_no_error(self, queue: Queue) -> None:
        queue.send([])
        queue.ack([])
        assert not queue.receive()

    def test_many_messages_are_delivered_once_each(self, queue: Queue) -> None:
        bodies = [f"body-{number:02d}" for number in range(25)]
        queue.send(bodies)
        messages = _drain(queue)
        assert sorted(message.body for message in messages) == bodies
        assert len({message.id for message in messages}) == 25
        assert len({message.receipt for message in messages}) == 25
        queue.ack([message.receipt for message in messages])
        assert not queue.receive(visibility_s=0)

    def test_equal_bodies_are_different_messages(self, queue: Queue) -> None:
        queue.send(["same", "same"])
        queue.send(["same"])
        assert len({message.id for message in _drain(queue)}) == 3

    def test_receive_takes_at_most_the_limit(self, queue: Queue) -> None:
        queue.send([f"body-{number}" for number in range(15)])
        assert len(queue.receive(limit=1)) == 1
        assert len(queue.receive(limit=3)) <= 3
        assert len(queue.receive(limit=10)) <= 10

    def test_a_received_message_is_not_delivered_again_at_once(self, queue: Queue) -> None:
        queue.send(["a"])
        assert len(queue.receive(visibility_s=60)) == 1
        assert not queue.receive(visibility_s=60)

    def test_a_message_comes_back_after_its_visibility_time(
        self, queue: Queue, advance: Callable[[float], None]
    ) -> None:
        queue.send(["a"])
        (first,) = queue.receive(visibility_s=30)
        advance(29)
        assert not queue.receive()
        advance(2)
        (second,) = queue.receive(visibility_s=30)
        assert (second.id, second.body, second.receive_count) == (first.id, "a", 2)

    def test_a_delayed_message_is_not_seen_before(
        self, queue: Queue, advance: Callable[[float], None]
    ) -> None:
        queue.send(["a"], delay_s=20)
        assert not queue.receive()
        advance(19)
        assert not queue.receive()
        advance(2)
        assert [message.body for message in queue.receive()] == ["a"]

    def test_retry_later_ends_the_visibility_time_early(self, queue: Queue) -> None:
        queue.send(["a"])
        (first,) = queue.receive(visibility_s=600)
        queue.retry_later(first.receipt, 0)
        (second,) = queue.receive(visibility_s=600)
        assert second.id == first.id
        assert second.receive_count == 2
        assert second.receipt != first.receipt

    def test_retry_later_waits_for_the_delay(
        self, queue: Queue, advance: Callable[[float], None]
    ) -> None:
        queue.send(["a"])
        (first,) = queue.receive(visibility_s=5)
        queue.retry_later(first.receipt, 50)
        advance(49)
        assert not queue.receive()
        advance(2)
        assert [message.id for message in queue.receive()] == [first.id]

    def test_an_acknowledged_message_can_be_acknowledged_again(self, queue: Queue) -> None:
        queue.send(["a", "b"])
        first, second = _drain(queue)
        queue.ack([first.receipt])
        queue.ack([first.receipt, second.receipt])
        assert not queue.receive(visibility_s=0)

    def test_more_than_ten_messages_are_acknowledged_in_one_call(self, queue: Queue) -> None:
        queue.send([f"body-{number}" for number in range(23)])
        messages = _drain(queue)
        queue.ack([message.receipt for message in messages[:21]])
        for message in messages[21:]:
            queue.retry_later(message.receipt, 0)
        assert {message.id for message in _drain(queue)} == {m.id for m in messages[21:]}

    def test_too_long_bodies_are_refused_and_nothing_is_sent(self, queue: Queue) -> None:
        with pytest.raises(PayloadTooLargeError):
            queue.send(["fine", "x" * (MAX_MESSAGE_BYTES + 1)])
        with pytest.raises(PayloadTooLargeError):
            queue.send(["é" * (MAX_MESSAGE_BYTES // 2 + 1)])
        assert not queue.receive()
        queue.send(["x" * MAX_MESSAGE_BYTES])
        assert [len(message.body) for message in queue.receive()] == [MAX_MESSAGE_BYTES]

    def test_a_message_that_fails_too_often_becomes_a_dead_letter(self, queue: Queue) -> None:
        self._fail_for_good(queue, ["a"])
        assert [message.body for message in queue.dead_letters()] == ["a"]
        assert [message.body for message in queue.dead_letters()] == ["a"]
        assert not queue.receive(visibility_s=0)

    def test_dead_letters_are_listed_up_to_the_limit(self, queue: Queue) -> None:
        self._fail_for_good(queue, ["a", "b", "c"])
        assert sorted(message.body for message in queue.dead_letters()) == ["a", "b", "c"]
        assert len(queue.dead_letters(limit=2)) <= 2

    def test_redriven_messages_start_again(self, queue: Queue) -> None:
        self._fail_for_good(queue, ["a", "b"])
        assert queue.redrive() == 2
        assert not queue.dead_letters()
        again = _drain(queue)
        assert sorted(message.body for message in again) == ["a", "b"]
        assert {message.receive_count for message in again} == {1}
        queue.ack([message.receipt for message in again])
        assert queue.redrive() == 0

    def test_threads_never_hold_the_same_message(self, queue: Queue) -> None:
        queue.send([f"body-{number:02d}" for number in range(30)])

        def take(index: int) -> list[str]:
            taken: list[str] = []
            for _ in range(5):
                received = queue.receive(limit=3, visibility_s=600)
                taken += [message.body for message in received]
            return taken

        taken = [body for bodies in run_together(6, take) for body in bodies]
        taken += [message.body for message in _drain(queue)]
        assert sorted(taken) == [f"body-{number:02d}" for number in range(30)]

    def _fail_for_good(self, queue: Queue, bodies: Sequence[str]) -> None:
        """Let messages fail as often as the queue delivers them."""
        queue.send(bodies)
        for attempt in range(self.max_receives):
            messages = _drain(queue)
            assert sorted(message.body for message in messages) == sorted(bodies)
            assert {message.receive_count for message in messages} == {attempt + 1}
            for message in messages:
                queue.retry_later(message.receipt, 0)
        assert not _drain(queue)


def _drain(queue: Queue) -> list[Message]:
    """Receive all visible messages and hide them for ten minutes."""
    messages: list[Message] = []
    while received := queue.receive(visibility_s=600):
        messages += received
    return messages
