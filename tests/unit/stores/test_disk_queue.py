from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ndlambda.stores.disk import SqliteQueue, release_received


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def queue(tmp_path: Path, now: list[float]) -> Iterator[SqliteQueue]:
    queue = SqliteQueue(tmp_path / "queues.sqlite", "work", lambda: now[0], fsync=False)
    yield queue
    queue.close()


@pytest.fixture
def other(tmp_path: Path, now: list[float]) -> Iterator[SqliteQueue]:
    """Another queue of the same file, of which one delivery is enough."""
    queue = SqliteQueue(tmp_path / "queues.sqlite", "other", lambda: now[0], 1, fsync=False)
    yield queue
    queue.close()


def test_an_outdated_receipt_does_nothing(queue, now):
    queue.send(["a"])
    (first,) = queue.receive(visibility_s=10)
    now[0] += 11
    (second,) = queue.receive(visibility_s=10)
    queue.ack([first.receipt])
    queue.retry_later(first.receipt, 0)
    assert not queue.receive()
    now[0] += 11
    (third,) = queue.receive()
    assert third.id == second.id
    queue.ack([third.receipt])
    now[0] += 1000
    assert not queue.receive()


def test_a_late_receipt_counts_until_the_next_delivery(queue, now):
    queue.send(["a"])
    (message,) = queue.receive(visibility_s=10)
    now[0] += 11
    queue.ack([message.receipt])
    assert not queue.receive()


def bodies(messages) -> list[str]:
    return [message.body for message in messages]


def test_the_longest_visible_message_comes_first(queue, now):
    queue.send(["later"], delay_s=5)
    queue.send(["first", "second"])
    now[0] += 10
    queue.send(["last"])
    assert bodies(queue.receive()) == ["first", "second", "later", "last"]


def test_five_deliveries_unless_set(queue):
    queue.send(["a"])
    for count in range(1, 6):
        assert [each.receive_count for each in queue.receive(visibility_s=0)] == [count]
    assert not queue.receive()
    assert [(dead.body, dead.receive_count) for dead in queue.dead_letters()] == [("a", 5)]


def test_queues_of_one_file_keep_apart(queue, other):
    queue.send(["mine"])
    other.send(["theirs"])
    (message,) = queue.receive()
    other.ack([message.receipt])
    other.retry_later(message.receipt, 0)
    assert not queue.receive()
    assert bodies(other.receive(visibility_s=0)) == ["theirs"]
    assert not other.receive()
    assert not queue.dead_letters()
    assert (queue.redrive(), other.redrive()) == (0, 1)


def test_messages_outlive_the_queue_object(tmp_path):
    with closing(SqliteQueue(tmp_path / "queues.sqlite", "work")) as first:
        first.send(["a"])
    with closing(SqliteQueue(tmp_path / "queues.sqlite", "work")) as second:
        assert bodies(second.receive()) == ["a"]


def test_what_dead_processes_had_received_is_taken_back(queue, other, tmp_path, now):
    """Of all queues of the file; what was sent with a delay, or is dead, stays as it is."""
    other.send(["dead"])
    other.receive(visibility_s=0)
    assert not other.receive()
    queue.send(["taken", "waiting"])
    other.send(["too"])
    queue.send(["delayed"], delay_s=60)
    queue.receive(1, visibility_s=900)
    other.receive(1, visibility_s=900)
    assert release_received(tmp_path / "queues.sqlite", lambda: now[0], fsync=False) == 2
    found = queue.receive(visibility_s=900)
    assert [(each.body, each.receive_count) for each in found] == [("taken", 2), ("waiting", 1)]
    assert bodies(other.dead_letters()) == ["dead"]
    now[0] += 60
    assert bodies(queue.receive()) == ["delayed"]
