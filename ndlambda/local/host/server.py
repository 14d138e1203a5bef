"""Listens, counts the connections, and ends gracefully: requests under way are finished."""

import asyncio
import logging
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any, Final

from ndlambda.local.host.connection import HttpConnection
from ndlambda.local.host.crowd import Lanes
from ndlambda.local.host.limits import Limits
from ndlambda.local.host.spool import Spool
from ndlambda.local.host.workers import Workers

_log = logging.getLogger("ndlambda.local")

_BACKLOG: Final = 1024
_ACCEPT_TURNS: Final = 4
"""Turns of the loop after which a connection that it has accepted is counted."""
_JUDGES: Final = 4
_TURN_S: Final = 0.25
_DRAIN_TURN_S: Final = 0.05


class WsgiServer:
    """A listening server.

    Parameters
    ----------
    app
        WSGI application that also judges requests by their heads, as ``ndlambda.web.app.App``.
    address
        Name or address to listen on, and a port; 0 takes a free one.
    threads
        Requests answered at once.
    limits
        What clients may take.
    spool
        Where large bodies are kept while they arrive; by default in files of the system's
        temporary folder.
    listener
        What ``listen`` returned for the address; by default it is called.

    Raises
    ------
    OSError
        The address is not one of this machine, or the port is taken.
    """

    def __init__(
        self,
        app: Any,
        address: tuple[str, int],
        *,
        threads: int = 8,
        limits: Limits | None = None,
        spool: Spool | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        self.app = app
        self.limits = (limits or Limits()).within_file_limit()
        self.spool = spool or Spool(Path(tempfile.gettempdir()), 1 << 33)
        self.workers = Workers(threads, "request")
        self.lanes = Lanes(
            self.workers, Workers(_JUDGES, "judge"), Workers(1, "health"), Workers(2, "files")
        )
        self.is_draining = False
        self._connections: set[HttpConnection] = set()
        self._waiting: dict[HttpConnection, None] = {}
        self._lingering: dict[HttpConnection, None] = {}
        self._socket = listener or listen(address)
        self._name, self._port = address[0], self._socket.getsockname()[1]

    @property
    def address(self) -> tuple[str, str]:
        """Name and port."""
        return self._name, str(self._port)

    @property
    def url(self) -> str:
        """The URL of the server."""
        name, port = self.address
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    def run(
        self,
        ready: Callable[[], None],
        stopping: Callable[[], None] = lambda: None,
        *,
        ending: bool = False,
    ) -> None:
        """Serve until SIGTERM or SIGINT, then finish the requests under way and return.

        Parameters
        ----------
        ready
            Called once the signal handlers are installed.
        stopping
            Called when the end begins.
        ending
            Whether the process ends after this: further signals are then ignored, so that a second
            one does not interrupt the shutdown. Else the previous handlers are restored.
        """
        signals, previous = (signal.SIGTERM, signal.SIGINT), {}

        def begin() -> None:
            previous.update(
                {number: signal.signal(number, self._ask_to_stop) for number in signals}
            )
            ready()

        try:
            asyncio.run(self._serve(begin, stopping))
        finally:
            for number, handler in previous.items():
                signal.signal(number, signal.SIG_IGN if ending else handler)

    def _ask_to_stop(self, _signal: int, _frame: FrameType | None) -> None:
        # The loop's own handlers would be taken out before the process ends; a signal just then
        # would kill it. The turns of the loop are short, since a signal that arrives just before
        # the loop waits does not interrupt that.
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve(self, ready: Callable[[], None], stopping: Callable[[], None]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(
            lambda: HttpConnection(self), sock=self._socket, backlog=_BACKLOG
        )
        ready()
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _TURN_S)
            self._check()
        _log.info("stopping: finishing the requests under way")
        stopping()
        last = self._accept_last()
        server.close()
        for made in last:
            await self._loop.connect_accepted_socket(lambda: HttpConnection(self), made)
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        self.is_draining = True
        deadline = self.now() + self.limits.drain_s
        while self._connections and self.now() < deadline:
            await asyncio.sleep(_DRAIN_TURN_S)
            self._check()
        if self._connections:
            _log.warning("%d connections did not end in time", len(self._connections))
        for connection in tuple(self._connections):
            connection.give_way()
        await asyncio.sleep(0)

    def _check(self) -> None:
        now = self.now()
        for connection in tuple(self._connections):
            try:
                connection.check(now)
            except Exception:  # noqa: BLE001 - one connection does not end the server
                _log.exception("a connection failed")
                connection.give_way()

    def _accept_last(self) -> list[socket.socket]:
        """Return the connections that were made before the server was asked to stop."""
        last: list[socket.socket] = []
        with suppress(OSError):  # there are no more, or no more can be opened
            while len(last) < _BACKLOG:
                last.append(self._socket.accept()[0])
        return last

    # what connections ask (see ``crowd.Crowd``)

    @property
    def is_full(self) -> bool:
        """Whether there are too many requests under way for another one."""
        return len(self._connections) - self._silent > self.limits.max_connections

    def now(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def post(self, call: Callable[[], None]) -> None:
        """Call in the loop's thread, soon."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop has ended without this request
            _log.warning("a request ended after the server")

    def joined(self, connection: HttpConnection) -> None:
        """Count a connection; if there are too many, the one that is silent longest is closed.

        Those that are refused and only wait for their client to leave come before all others.
        """
        limits, count = self.limits, len(self._connections)
        is_over = count >= limits.max_connections and self._silent >= limits.max_extra
        if self._silent and (is_over or count >= limits.max_connections + limits.max_extra):
            oldest = next(chain(self._lingering, self._waiting))
            self.left(oldest)
            oldest.give_way()
        self._connections.add(connection)

    def set_waiting(
        self, connection: HttpConnection, *, is_waiting: bool, lingers: bool = False
    ) -> None:
        """Note whether a connection waits for its next request, or only for its client to leave."""
        self._forget_waiting(connection)
        if is_waiting:
            (self._lingering if lingers else self._waiting)[connection] = None

    def left(self, connection: HttpConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        self._forget_waiting(connection)

    @property
    def _silent(self) -> int:
        return len(self._waiting) + len(self._lingering)

    def _forget_waiting(self, connection: HttpConnection) -> None:
        self._waiting.pop(connection, None)
        self._lingering.pop(connection, None)


def listen(address: tuple[str, int]) -> socket.socket:
    """Return a socket that listens on a name or address and a port; clients wait to be served.

    Raises
    ------
    OSError
        The address is not one of this machine, or the port is taken.
    """
    name, port = address
    # localhost has an address of each family, each with a free port of its own.
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    (found, *_) = socket.getaddrinfo(name, port, family, socket.SOCK_STREAM)
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(found[4])
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
