"""A SQLite file that is safe with threads, forked processes and kill -9."""

import os
import random
import sqlite3
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ndlambda.backoff import pause_s
from ndlambda.errors import (
    InvalidArgumentError,
    StoreFullError,
    StoreUnavailableError,
    UpstreamError,
    WriteContentionError,
)
from ndlambda.stores.disk.full import has_no_room, store_error
from ndlambda.stores.disk.identity import Identity
from ndlambda.trace import span

_ATTEMPTS = 5
_BASE_S = 0.01
_CAP_S = 1.0


class Database:
    """Connections to one SQLite file in WAL mode: readers and the writer do not block each other.

    ``synchronous=FULL`` syncs the log at every commit, so acknowledged writes survive a power cut
    as well as kill -9; NORMAL could lose the last commits in a power cut and leave objects without
    an index row. Idle connections are pooled; a forked child has the pool of its own process id,
    since SQLite connections must not be used across ``fork``.

    Before a commit is acknowledged the identity of the folder and the file are looked at: SQLite
    writes on into a file that was deleted or moved away.

    Parameters
    ----------
    path
        The file; created with its folder if absent. May be shared with other ports.
    schema
        Idempotent SQL statements (``CREATE ... IF NOT EXISTS``).
    fsync
        False commits without syncing: safe against kill -9 only.
    busy_timeout_s
        How long each of five attempts to write waits for other writers.
    """

    def __init__(
        self, path: Path, schema: str, *, fsync: bool = True, busy_timeout_s: float = 5.0
    ) -> None:
        self._path = path
        self._synchronous = "FULL" if fsync else "NORMAL"
        self._busy_timeout_s = busy_timeout_s
        self._idle: dict[int, deque[_Connection]] = {}
        weakref.finalize(self, _close_idle, self._idle)
        try:
            self._identity = Identity(path.parent)
            path.touch(exist_ok=True)
        except OSError as error:
            raise store_error(error, f"{path} cannot be created") from error
        with self._connection() as connection:
            _retry_busy(connection, "PRAGMA journal_mode = WAL")
            _retry_busy(connection, "BEGIN IMMEDIATE")
            try:
                for statement in schema.split(";"):
                    connection.execute(statement)
                connection.execute("COMMIT")
            finally:
                _roll_back(connection)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Return a connection that sees one snapshot of the file.

        Raises
        ------
        UpstreamError
            The file cannot be read.
        """
        with span("table.read", file=self._path.name), self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                _roll_back(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Return a connection that holds the write lock; commit at the end, roll back on an error.

        Raises
        ------
        WriteContentionError
            Other writers kept the file locked.
        UpstreamError
            The file cannot be written.
        """
        with span("table.write", file=self._path.name), self._connection() as connection:
            _retry_busy(connection, "BEGIN IMMEDIATE")
            try:
                yield connection
                self._check_file(connection, "Nothing was stored")
                self._identity.check()
                connection.execute("COMMIT")
                self._identity.check_written()
                self._check_file(connection, "What was just written may be lost")
            finally:
                _roll_back(connection)

    def check(self) -> None:
        """Check that the file is there, and its folder.

        Raises
        ------
        StoreUnavailableError
            One is not.
        UpstreamError
            Whether they are there is unknown.
        """
        with _translated(self._path):
            if _file_at(self._path) is None:
                raise StoreUnavailableError(f"{self._path} is not there any more.")
        self._identity.check()

    def _check_file(self, connection: "_Connection", outcome: str) -> None:
        with _translated(self._path):
            if _file_at(self._path) != connection.file:
                raise StoreUnavailableError(
                    f"{self._path} is not there any more (moved, deleted or replaced). {outcome}; "
                    "it goes on when it is back."
                )

    def close(self) -> None:
        """Close this process's idle connections; the next use opens new ones."""
        _close_idle(self._idle)

    @contextmanager
    def _connection(self) -> "Iterator[_Connection]":
        idle = self._idle.setdefault(os.getpid(), deque())
        with _translated(self._path):
            connection = self._find_idle(idle) or self._connect()
            try:
                yield connection
            except (UpstreamError, sqlite3.Error):  # its file may be gone
                connection.close()
                raise
            except BaseException:
                idle.append(connection)
                raise
            idle.append(connection)

    def _find_idle(self, idle: "deque[_Connection]") -> "_Connection | None":
        """Return a connection to the file that is there, and close those to others."""
        current = _file_at(self._path)
        while True:
            try:
                connection = idle.pop()  # atomic, as is append
            except IndexError:
                return None
            if connection.file == current:
                return connection
            connection.close()

    def _connect(self) -> "_Connection":
        self.check()
        file = _file_at(self._path)
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw",  # creates no file in another folder
            factory=_Connection,
            uri=True,
            timeout=self._busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.file = file
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        return connection


class _Connection(sqlite3.Connection):
    """A connection that knows the device and inode of its file."""

    file: tuple[int, int] | None = None


def _file_at(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a file, None if it is absent."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _close_idle(idle: dict[int, deque[_Connection]]) -> None:
    own = idle.get(os.getpid(), deque())
    while own:
        own.pop().close()


def _retry_busy(connection: sqlite3.Connection, statement: str) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(pause_s(attempt, _BASE_S, _CAP_S, random.random))
        else:
            return


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.rollback()


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Translate SQLite's errors to ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if _is_busy(error):
            raise WriteContentionError(f"Other writers keep {path.name} locked.") from error
        kind = StoreFullError if has_no_room(error, path.parent) else UpstreamError
        raise kind(f"SQLite failed on {path.name}: {error}.") from error
    except OSError as error:
        raise UpstreamError(f"{path} cannot be looked at: {error.strerror}.") from error
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"Not Unicode text: {error}.") from error
    except sqlite3.DatabaseError as error:
        raise UpstreamError(f"SQLite failed on {path.name}: {error}.") from error
