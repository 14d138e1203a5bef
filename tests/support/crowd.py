"""A crowd of clients on one server at once: idle, slow and busy ones, and two that are asked about.

All run on one event loop. A client whose connection is closed opens another one.
"""

import asyncio
import socket
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

_SLOW_BYTES = 1 << 14
_PAUSE_S = 1.0
_PROBE_S = 0.25
_END = b"\r\n\r\n"


@dataclass(frozen=True)
class CrowdSize:
    """How many clients there are of each kind."""

    idle: int = 2000
    slow_readers: int = 300
    slow_writers: int = 300
    busy: int = 100

    @property
    def files(self) -> int:
        """Connections that are open at once."""
        return self.idle + self.slow_readers + self.slow_writers + self.busy


@dataclass
class Asked:
    """The statuses that one kind of client got, 0 for none, and their times in seconds."""

    statuses: Counter[int] = field(default_factory=Counter)
    times_s: list[float] = field(default_factory=list)

    def quantile(self, part: float) -> float:
        """Return a quantile of the times."""
        if len(self.times_s) < 2:
            return self.times_s[0] if self.times_s else float("nan")
        return statistics.quantiles(self.times_s, n=1000)[round(part * 1000) - 1]


@dataclass(frozen=True)
class Target:
    """The server, and what is asked of it.

    Attributes
    ----------
    small, large
        Paths of cutouts that are read at once, and slowly.
    upload, body
        Path and body of a cutout that is written slowly.
    """

    port: int
    key: str
    small: str
    large: str
    upload: str
    body: bytes

    @asynccontextmanager
    async def connected(
        self, receive_bytes: int = 0
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a connection, with a small window for slow readers."""
        made = socket.socket()
        if receive_bytes:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.port))
        except BaseException:
            made.close()
            raise
        reader, writer = await asyncio.open_connection(sock=made, limit=_SLOW_BYTES)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    def head(self, method: str, path: str, more: str = "") -> bytes:
        """Return the head of a request by the owner of the key."""
        return (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {self.key}\r\n"
            f"{more}\r\n"
        ).encode()


async def read_answer(reader: asyncio.StreamReader) -> int:
    """Read a response to its end, and return its status."""
    head = await reader.readuntil(_END)
    lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    rest = int(fields.get("content-length", 0))
    while rest:
        piece = await reader.read(min(rest, 1 << 18))
        if not piece:
            raise ConnectionError
        rest -= len(piece)
    return int(lines[0].split()[1])


async def _idle(target: Target, number: int) -> None:
    """Every other one asks once and keeps the connection; the rest trickle their headers."""
    async with target.connected() as (reader, writer):
        if number % 2:
            writer.write(target.head("GET", "/v1/server"))
            await read_answer(reader)
            await reader.read()
        else:
            for byte in target.head("GET", "/v1/server", "X-Long: " + "x" * 10_000):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(_PAUSE_S)


async def _read_slowly(target: Target) -> None:
    async with target.connected(receive_bytes=_SLOW_BYTES) as (reader, writer):
        writer.write(target.head("GET", target.large))
        while await reader.read(_SLOW_BYTES):  # noqa: ASYNC110 - it is slow on purpose
            await asyncio.sleep(_PAUSE_S)


async def _write_slowly(target: Target) -> None:
    async with target.connected() as (_reader, writer):
        length = len(target.body)
        writer.write(target.head("POST", target.upload, f"Content-Length: {length}\r\n"))
        for start in range(0, length, _SLOW_BYTES):
            writer.write(target.body[start : start + _SLOW_BYTES])
            await writer.drain()
            await asyncio.sleep(_PAUSE_S)


async def _ask(target: Target, path: str, asked: Asked) -> None:
    started = time.perf_counter()
    status = 0
    with suppress(OSError, EOFError):
        async with target.connected() as (reader, writer):
            writer.write(target.head("GET", path))
            status = await read_answer(reader)
    asked.statuses[status] += 1
    asked.times_s.append(time.perf_counter() - started)


async def _repeat(once: Callable[[], Awaitable[None]], pause_s: float = 0.0) -> None:
    while True:
        with suppress(OSError, EOFError, asyncio.LimitOverrunError):
            await once()
        await asyncio.sleep(pause_s)


async def _crowd(
    target: Target, size: CrowdSize, rounds: int, begun: Callable[[], None]
) -> dict[str, Asked]:
    asked = {name: Asked() for name in ("health", "honest", "busy")}
    crowd = [
        *(partial(_idle, target, number) for number in range(size.idle)),
        *(partial(_read_slowly, target) for _ in range(size.slow_readers)),
        *(partial(_write_slowly, target) for _ in range(size.slow_writers)),
    ]
    busy = [partial(_ask, target, target.small, asked["busy"])] * size.busy
    tasks = [asyncio.ensure_future(_repeat(once, _PAUSE_S)) for once in crowd]
    tasks += [asyncio.ensure_future(_repeat(once)) for once in busy]
    await asyncio.sleep(_PAUSE_S)
    begun()
    for _ in range(rounds):
        await asyncio.gather(
            _ask(target, "/healthz", asked["health"]), _ask(target, target.small, asked["honest"])
        )
        await asyncio.sleep(_PROBE_S)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return asked


def run_crowd(
    target: Target, size: CrowdSize, rounds: int, begun: Callable[[], None] = lambda: None
) -> dict[str, Asked]:
    """Run a crowd, and return what ``health``, ``honest`` and ``busy`` clients got.

    Parameters
    ----------
    rounds
        How often the first two ask, a new connection each time.
    begun
        Called when all clients are there.
    """
    return asyncio.run(_crowd(target, size, rounds, begun))
