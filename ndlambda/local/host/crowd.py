"""What a connection knows of the server and of all other connections."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from ndlambda.errors import NDLambdaError
from ndlambda.local.host.limits import Limits
from ndlambda.local.host.spool import Spool

_HURRY: Final = 6
"""By how much time is shorter when others wait for the connection, or for the server's end."""


class Runs(Protocol):
    """Runs tasks in threads."""

    def submit(self, task: Callable[[], None]) -> None:
        """Run a task, soon."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """Where tasks run, by what they may have to wait for.

    Attributes
    ----------
    work
        Requests.
    judge
        Requests of which only the head is there; quick.
    health
        ``/healthz``, which waits for nothing but the stores.
    files
        Bodies written and read.
    """

    work: Runs
    judge: Runs
    health: Runs
    files: Runs


class Crowd(Protocol):
    """All connections, as one of them sees them."""

    app: Any
    limits: Limits
    lanes: Lanes
    spool: Spool
    is_draining: bool

    @property
    def address(self) -> tuple[str, str]:
        """Name and port of the server."""

    @property
    def is_full(self) -> bool:
        """Whether there are too many requests under way for another one."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def post(self, call: Callable[[], None]) -> None:
        """Call in the loop's thread, soon; called by all threads."""

    def joined(self, connection: Any) -> None:
        """Count a connection."""

    def set_waiting(self, connection: Any, *, is_waiting: bool, lingers: bool = False) -> None:
        """Note whether a connection waits for its next request, or only for its client to leave."""

    def left(self, connection: Any) -> None:
        """Forget a connection."""


def write_in_thread(
    crowd: Crowd, write: Callable[[], None], done: Callable[[NDLambdaError | None], None]
) -> None:
    """Write to a file in a thread; then ``done`` is called with the error that there was."""

    def task() -> None:
        error = None
        try:
            write()
        except NDLambdaError as caught:
            error = caught
        crowd.post(partial(done, error))

    crowd.lanes.files.submit(task)


class ClientPace:
    """The pace of a client that sends a body or reads a response."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._counted = 0
        self._since = crowd.now()

    def is_stalled(self, now: float, moved: int, *, waits: bool) -> bool:
        """Return whether too little has moved in the last period.

        Parameters
        ----------
        moved
            Bytes since the start.
        waits
            Whether the client waits for the server, which is not held against it.
        """
        limits = self._crowd.limits
        is_hurried = self._crowd.is_full or self._crowd.is_draining
        if not waits:
            if now - self._since <= limits.stall_s / (_HURRY if is_hurried else 1):
                return False
            if moved - self._counted < limits.stall_bytes:
                return True
        self._since, self._counted = now, moved
        return False


def head_s(crowd: Crowd) -> float:
    """Return the seconds that a client has for the head of a request."""
    return crowd.limits.head_s / (_HURRY if crowd.is_draining else 1)
