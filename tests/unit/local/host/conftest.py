"""A server without a loop: threads, time and the network are the test's."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from ndlambda.local.host.connection import HttpConnection
from ndlambda.local.host.crowd import Lanes
from ndlambda.local.host.limits import Limits
from ndlambda.local.host.server import WsgiServer
from ndlambda.local.host.spool import Spool


class Tasks:
    """A lane whose tasks are run by the test."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()

    def submit(self, task: Callable[[], None]) -> None:
        self.waiting.append(task)

    def run(self) -> bool:
        """Run one task, and return whether there was any."""
        if self.waiting:
            self.waiting.popleft()()
            return True
        return False


class Wire(asyncio.Transport):
    """The other end of a connection, which reads as much as the test wants."""

    def __init__(self, connection: HttpConnection, room: int) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self._connection = connection
        self.room = room
        self.unread = b""
        self.got = b""
        self.is_reading = self.is_open = True
        self.has_ended = self._is_paused = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self._high = high

    def get_write_buffer_size(self) -> int:
        return len(self.unread)

    def write(self, data: Any) -> None:
        assert self.is_open
        self.unread += bytes(data)
        self._flow()
        if len(self.unread) > self._high and not self._is_paused:
            self._is_paused = True
            self._connection.pause_writing()

    def read(self, size: int) -> None:
        """Let the client read so many bytes."""
        self.room += size
        self._flow()
        if self._is_paused and not self.unread:
            self._is_paused = False
            self._connection.resume_writing()

    def _flow(self) -> None:
        taken = self.unread[: self.room]
        self.unread = self.unread[self.room :]
        self.got += taken
        self.room -= len(taken)

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def write_eof(self) -> None:
        self.has_ended = True

    def is_closing(self) -> bool:
        return not self.is_open

    def close(self) -> None:
        if not self.unread:
            self.abort()

    def abort(self) -> None:
        if self.is_open:
            self.is_open = False
            self._connection.connection_lost(None)


@dataclass
class Client:
    """A connection, and what its client sees."""

    server: "Loopless"
    connection: HttpConnection
    wire: Wire

    def send(self, data: bytes) -> None:
        """Send in pieces as a socket gives them, as long as they are taken."""
        while data and self.wire.is_open:
            assert self.wire.is_reading
            self.connection.data_received(data[: 1 << 18])
            data = data[1 << 18 :]
            self.server.run()

    def ask(self, data: bytes) -> bytes:
        """Send, and return all that came back by now."""
        self.send(data)
        got, self.wire.got = self.wire.got, b""
        return got


class Loopless(WsgiServer):
    """A server whose tasks, calls and clock are the test's."""

    def __init__(self, app: Any, spool: Spool, **limits: Any) -> None:
        super().__init__(app, ("127.0.0.1", 0), limits=Limits(**limits), spool=spool)
        self._socket.close()
        self.lanes = Lanes(Tasks(), Tasks(), Tasks(), Tasks())
        self.time = 0.0
        self.calls: deque[Callable[[], None]] = deque()

    def now(self) -> float:
        return self.time

    def post(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def connect(self, room: int = 1 << 40) -> Client:
        """Return a new connection whose client reads so many bytes by itself."""
        connection = HttpConnection(self)
        wire = Wire(connection, room)
        connection.connection_made(wire)
        return Client(self, connection, wire)

    def run(self, *, but: Tasks | None = None) -> None:
        """Run all that is to be run, but the tasks of one lane."""
        lanes = (self.lanes.work, self.lanes.judge, self.lanes.health, self.lanes.files)
        while True:
            if self.calls:
                self.calls.popleft()()
            elif not any(lane.run() for lane in lanes if lane is not but):
                return

    def close(self) -> None:
        """Close all connections."""
        for connection in tuple(self._connections):
            connection.give_way()
        self.run()

    def wait(self, seconds: float) -> None:
        """Let time pass, with a look at the deadlines at each second."""
        for _ in range(round(seconds)):
            self.time += 1
            self._check()
            self.run()


@dataclass
class Views:
    """An application of the test.

    Attributes
    ----------
    answer
        The body of each response.
    max_body
        What it accepts, or the status by which it refuses by the head.
    bodies
        The bodies that it got.
    closed
        How many responses were released.
    """

    answer: bytes = b"fine"
    max_body: int | str = 1 << 30
    bodies: list[bytes] = field(default_factory=list)
    judged: int = 0
    closed: int = 0

    def judge(self, environ: dict[str, Any]) -> Any:
        assert "wsgi.input" not in environ
        self.judged += 1
        return self._refuse if isinstance(self.max_body, str) else self.max_body

    def _refuse(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        start(self.max_body, [("Content-Length", "2")])
        return [b"no"]

    def __call__(self, environ: dict[str, Any], start: Any) -> "Views":
        assert "HTTP_TRANSFER_ENCODING" not in environ
        body = environ["wsgi.input"].read()
        assert len(body) == int(environ.get("CONTENT_LENGTH", "0"))
        self.bodies.append(body)
        start("200 OK", [("Content-Length", str(len(self.answer)))])
        return self

    def __iter__(self) -> Any:
        return iter([self.answer])

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def views():
    return Views()


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool", 1 << 24)


@pytest.fixture
def make_server(views, spool):
    """Return a function that makes a server; at the end its connections are closed."""
    with ExitStack() as stack:

        def make(**limits: Any) -> Loopless:
            made = Loopless(views, spool, **limits)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def server(make_server):
    return make_server()
