"""Queue on SQLite."""

import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from ndlambda.stores.disk.database import Database
from ndlambda.stores.limits import check_bodies
from ndlambda.stores.ports import Message

MAX_RECEIVE = 10
"""Maximum messages of one ``receive``, as on SQS."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    visible_at REAL NOT NULL,
    receive_count INTEGER NOT NULL DEFAULT 0,
    receipt TEXT UNIQUE,
    dead INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS messages_by_time ON messages (queue, dead, visible_at)
"""
_SEND = "INSERT INTO messages (queue, id, body, visible_at) VALUES (?, ?, ?, ?)"
_IS_ANY_VISIBLE = """
SELECT EXISTS (SELECT 1 FROM messages WHERE queue = ? AND dead = 0 AND visible_at <= ?)
"""
_BURY = """
UPDATE messages SET dead = 1, receipt = NULL
WHERE queue = ? AND dead = 0 AND visible_at <= ? AND receive_count >= ?
"""
_SELECT_VISIBLE = """
SELECT number, id, body, receive_count FROM messages
WHERE queue = ? AND dead = 0 AND visible_at <= ? ORDER BY visible_at, number LIMIT ?
"""
_DELIVER = """
UPDATE messages SET receive_count = receive_count + 1, receipt = ?, visible_at = ?
WHERE number = ?
"""
_RELEASE_RECEIVED = """
UPDATE messages SET visible_at = ? WHERE dead = 0 AND receipt IS NOT NULL AND visible_at > ?
"""
_SELECT_DEAD = """
SELECT id, body, receive_count FROM messages
WHERE queue = ? AND dead = 1 ORDER BY visible_at, number LIMIT ?
"""
_REDRIVE = """
UPDATE messages SET dead = 0, receive_count = 0, visible_at = ? WHERE queue = ? AND dead = 1
"""


def release_received(
    path: Path, clock: Callable[[], float] = time.time, *, fsync: bool = True
) -> int:
    """Make all received, unacknowledged messages of a file's queues visible at once.

    For use when all receivers are known to be dead. Messages sent with a delay keep it.

    Returns
    -------
    int
        Number of released messages.
    """
    database = Database(path, _SCHEMA, fsync=fsync)
    try:
        with database.writing() as connection:
            now = clock()
            return connection.execute(_RELEASE_RECEIVED, (now, now)).rowcount
    finally:
        database.close()


class SqliteQueue:
    """Messages in a SQLite file, with the semantics of SQS.

    Parameters
    ----------
    path
        The file; created if absent. Several queues may share it.
    name
        Identifies the queue in the file.
    clock
        Unix seconds, by which messages become visible.
    max_receives
        Deliveries after which a message goes to the dead-letter list.
    fsync
        False is faster, but writes may be lost in a power cut.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        clock: Callable[[], float] = time.time,
        max_receives: int = 5,
        *,
        fsync: bool = True,
    ) -> None:
        self._name = name
        self._clock = clock
        self._max_receives = max_receives
        self._database = Database(path, _SCHEMA, fsync=fsync)

    def close(self) -> None:
        """Close the idle connections of this process."""
        self._database.close()

    def send(self, bodies: Sequence[str], delay_s: int = 0) -> None:
        """Send messages, each at most ``MAX_MESSAGE_BYTES`` long, visible after the delay.

        Raises
        ------
        PayloadTooLargeError
            A body is too long; nothing was sent.
        """
        check_bodies(bodies)
        visible_at = self._clock() + delay_s
        with self._database.writing() as connection:
            connection.executemany(
                _SEND, [(self._name, uuid.uuid4().hex, body, visible_at) for body in bodies]
            )

    def receive(self, limit: int = 10, visibility_s: int = 60) -> Sequence[Message]:
        """Receive up to ``limit`` (at most 10) visible messages, the longest visible first."""
        now = self._clock()
        # Idle pumps poll often, which must not take the write lock.
        with self._database.reading() as connection:
            if connection.execute(_IS_ANY_VISIBLE, (self._name, now)).fetchone() == (0,):
                return []
        messages = []
        with self._database.writing() as connection:
            connection.execute(_BURY, (self._name, now, self._max_receives))
            found = connection.execute(
                _SELECT_VISIBLE, (self._name, now, min(limit, MAX_RECEIVE))
            ).fetchall()
            for number, message_id, body, receive_count in found:
                receipt = uuid.uuid4().hex
                connection.execute(_DELIVER, (receipt, now + visibility_s, number))
                messages.append(Message(message_id, receipt, body, receive_count + 1))
        return messages

    def ack(self, receipts: Sequence[str]) -> None:
        """Remove messages; unknown or outdated receipts are no error."""
        with self._database.writing() as connection:
            connection.executemany(
                "DELETE FROM messages WHERE queue = ? AND receipt = ?",
                [(self._name, receipt) for receipt in receipts],
            )

    def retry_later(self, receipt: str, delay_s: int) -> None:
        """Make a received message visible again after the delay; outdated receipts do nothing."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE messages SET visible_at = ? WHERE queue = ? AND receipt = ?",
                (self._clock() + delay_s, self._name, receipt),
            )

    def dead_letters(self, limit: int = 10) -> Sequence[Message]:
        """Return messages that failed too often, without consuming them; receipts are empty."""
        with self._database.reading() as connection:
            found = connection.execute(_SELECT_DEAD, (self._name, limit)).fetchall()
        return [Message(message_id, "", body, count) for message_id, body, count in found]

    def redrive(self) -> int:
        """Send all dead letters back to the queue and return their number."""
        with self._database.writing() as connection:
            return connection.execute(_REDRIVE, (self._clock(), self._name)).rowcount
