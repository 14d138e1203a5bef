"""Modelled time and money of requests to the stores: counted, never slept.

Delays are typical ones within one region, a little on the slow side; prices are AWS list prices of
us-east-1 (on demand, DynamoDB standard class, Lambda on arm64). Both are arguments of the result,
not measurements of it: change them here and run again.
"""

import heapq
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.timing import Elapsed, stopwatch
from ndlambda.testing.counting import CountingStores

DELAYS_S: Final = {
    "objects.get": 0.030,
    "objects.put": 0.050,
    "objects.list": 0.080,
    "objects.delete": 0.030,
    "objects.delete_many": 0.250,  # a thousand keys
    "table.get": 0.005,
    "table.batch_get": 0.010,  # a hundred rows
    "table.query": 0.010,  # a page
    "table.put": 0.008,
    "table.delete": 0.008,
    "table.add_members": 0.008,
    "table.batch_add_members": 0.008,  # side by side
    "table.remove_members": 0.008,
    "table.batch_remove_members": 0.008,
    "table.increment": 0.008,
    "table.raise_counter": 0.008,
    "table.transact": 0.025,
    "queue.send": 0.015,  # ten messages
    "queue.receive": 0.015,
    "queue.ack": 0.010,
}
"""Seconds of a request, by verb."""

AT_ONCE: Final = {"objects.delete_many": 1000, "table.batch_get": 100, "queue.send": 10}
"""Items of a call that one request carries, where it is not all of them."""

GIGABYTE: Final = 1e9
PUT_DOLLARS: Final = 5e-6
GET_DOLLARS: Final = 4e-7
STORAGE_DOLLARS: Final = 0.023
"""S3 standard, for a gigabyte and month."""
READ_DOLLARS: Final = 0.125e-6
"""A read of a row of up to 4 KiB, strongly consistent."""
WRITE_DOLLARS: Final = 0.625e-6
"""A write of a row of up to 1 KiB; twice that in a transaction."""
MESSAGE_DOLLARS: Final = 0.4e-6
LAMBDA_DOLLARS: Final = 1.33334e-5
"""A second of a function of 1 GiB."""

_OBJECT_DOLLARS: Final = {
    "objects.get": GET_DOLLARS,
    "objects.put": PUT_DOLLARS,
    "objects.list": PUT_DOLLARS,
}
_ROW_READS: Final = {"table.get", "table.batch_get", "table.query"}


class Clock:
    """Modelled seconds.

    Attributes
    ----------
    now
        Of the work that runs; tasks of a pool run side by side.
    serial
        What all requests would take one after the other.
    """

    def __init__(self) -> None:
        self.now = self.serial = 0.0

    def spend(self, seconds: float) -> None:
        self.now += seconds
        self.serial += seconds


class ModelledStores(CountingStores):
    """Counts requests, and lets the clock run as far as each would take."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def add(self, verb: str, key: object, *, reads: int = 0, writes: int = 0) -> None:
        super().add(verb, key, reads=reads, writes=writes)
        self._clock.spend(DELAYS_S.get(verb, 0.0))

    def move(self, verb: str, items: int, size_bytes: int) -> None:
        super().move(verb, items, size_bytes)
        if items and verb in AT_ONCE:
            self._clock.spend(DELAYS_S[verb] * ((items - 1) // AT_ONCE[verb]))


class ModelledThreads(Executor):
    """A pool whose tasks run one after the other, but at the modelled times of its threads.

    A task begins when it is given to the pool and a thread is free; the caller that asks for its
    result waits until its modelled end.
    """

    def __init__(self, clock: Clock, threads: int) -> None:
        self._clock = clock
        self._free_at = [0.0] * threads

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        clock, future = self._clock, _ModelledFuture(self._clock)
        asked_at = clock.now
        clock.now = max(asked_at, heapq.heappop(self._free_at))
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - the caller asks for it
            future.set_exception(error)
        future.ends_at = clock.now
        heapq.heappush(self._free_at, clock.now)
        clock.now = asked_at
        return future


class _ModelledFuture(Future[Any]):
    ends_at = 0.0

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def result(self, timeout: float | None = None) -> Any:
        self._clock.now = max(self._clock.now, self.ends_at)
        return super().result(timeout)


@dataclass
class Step:
    """What one step of a scenario asked of the stores.

    Attributes
    ----------
    size
        Of what the scenario has many.
    modelled_s, serial_s
        With the service's threads, and one request after the other.
    peak_bytes
        By which this process grew at most, stores in memory and all.
    """

    scenario: str
    name: str
    size: int
    calls: Counter[str] = field(default_factory=Counter)
    items: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    modelled_s: float = 0.0
    serial_s: float = 0.0
    cpu_s: float = 0.0
    peak_bytes: int = 0

    @property
    def requests(self) -> int:
        return sum(_requests(verb, calls, self.items[verb]) for verb, calls in self.calls.items())

    @property
    def dollars(self) -> float:
        return sum(
            dollars(verb, calls, self.items[verb], self.sizes[verb])
            for verb, calls in self.calls.items()
        )


def _requests(verb: str, calls: int, items: int) -> int:
    return max(calls, -(-items // AT_ONCE[verb])) if verb in AT_ONCE else calls


def dollars(verb: str, calls: int, items: int, size_bytes: int) -> float:
    """Return the price of calls. Rows are charged by their bytes, at least one unit each.

    Of rows that grow by members all bytes are charged; here these are the members added.
    """
    store = verb.partition(".")[0]
    if store == "objects":
        return calls * _OBJECT_DOLLARS.get(verb, 0.0)
    if store == "queue":
        return _requests(verb, calls, items) * MESSAGE_DOLLARS
    if verb == "table.query":
        return max(calls, size_bytes / 4096) * READ_DOLLARS
    if verb in _ROW_READS:
        return max(items, size_bytes / 4096) * READ_DOLLARS
    written = max(items, size_bytes / 1024) * WRITE_DOLLARS
    return 2 * written if verb == "table.transact" else written


@contextmanager
def measured(step: Step, stores: ModelledStores, clock: Clock) -> Iterator[None]:
    """Fill in a step from what happens in the block."""
    stores.reset()
    now, serial, resident = clock.now, clock.serial, _resident_bytes()
    elapsed: Elapsed
    with stopwatch() as elapsed:
        yield
    step.calls, step.items = stores.calls.copy(), stores.items.copy()
    step.sizes = stores.sizes.copy()
    step.modelled_s, step.serial_s = clock.now - now, clock.serial - serial
    step.cpu_s, step.peak_bytes = elapsed.cpu_s, max(0, _peak_bytes() - resident)


def _resident_bytes() -> int:
    """Return the memory of this process, and let its peak be that of what comes now (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return _peak_bytes()


def _peak_bytes() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
