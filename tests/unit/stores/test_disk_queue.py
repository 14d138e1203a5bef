from collections.abc import Iterator
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


def test_the_longest_visible_message_comes_first(queue, now):
    queue.send(["later"], delay_s=5)
    queue.send(["first", "second"])
    now[0] += 10
    queue.send(["last"])
    assert [message.body for message in queue.receive()] == ["first", "second", "later", "last"]


def test_five_deliveries_unless_set(queue):
    queue.send(["a"])
    counts = []
    while received := queue.receive(visibility_s=0):
        counts.append(received[0].receive_count)
    assert counts == [1, 2, 3, 4, 5]
    (dead,) = queue.dead_letters()
    assert (dead.body, dead.receive_count) == ("a", 5)


def test_queues_of_one_file_keep_apart(queue, tmp_path):
    other = SqliteQueue(tmp_path / "queues.sqlite", "other", lambda: 1000.0, 1)
    queue.send(["mine"])
    other.send(["theirs"])
    (message,) = queue.receive()
    other.ack([message.receipt])
    other.retry_later(message.receipt, 0)
    assert not queue.receive()
    assert [m.body for m in other.receive(visibility_s=0)] == ["theirs"]
    assert not other.receive()
    assert not queue.dead_letters()
    assert queue.redrive() == 0
    assert other.redrive() == 1
    other.close()


def test_messages_outlive_the_queue_object(tmp_path):
    path = tmp_path / "queues.sqlite"
    first = SqliteQueue(path, "work")
    first.send(["a"])
    first.close()
    second = SqliteQueue(path, "work")
    assert [message.body for message in second.receive()] == ["a"]
    second.close()


def test_what_dead_processes_had_received_is_taken_back(queue, tmp_path, now):
    """Of all queues of the file; what was sent with a delay, or is dead, stays as it is."""
    other = SqliteQueue(tmp_path / "queues.sqlite", "other", lambda: now[0], 1, fsync=False)
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
    assert [(message.body, message.receive_count) for message in found] == [
        ("taken", 2),
        ("waiting", 1),
    ]
    assert [message.body for message in other.dead_letters()] == ["dead"]
    now[0] += 60
    assert [message.body for message in queue.receive()] == ["delayed"]
    other.close()
