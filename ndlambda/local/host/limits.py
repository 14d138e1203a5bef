"""What clients may take from the server: connections, time and bytes."""

import logging
import resource
from dataclasses import dataclass, replace
from typing import Self

_log = logging.getLogger("ndlambda.local")

_OWN_FILES = 512
"""Files that stores, bodies and logs need beside connections."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the server.

    Attributes
    ----------
    max_connections
        Open connections, and ``max_extra`` more that have asked nothing yet.
    max_head_bytes
        Request line and headers.
    head_s
        From the first byte of a request to the end of its headers.
    idle_s
        Silence on a connection between requests.
    stall_s, stall_bytes
        A body that arrives, or a response that is read, moves on by so many bytes in each such
        period, or is cut off; when there are too many connections, in each sixth of it.
    linger_s, max_linger_bytes
        What is read and thrown away of a refused body, so that its sender sees the refusal.
    slow_s, slow_bytes
        A response of which so much is unread after so long is moved to a file.
    health_s
        Wait for the stores by ``/healthz``.
    request_s
        From the head, and from the end of the body, to an answer; the application itself stops
        before that, unless it hangs.
    drain_s
        End of the requests under way, once the server is asked to stop.
    """

    max_connections: int = 4096
    max_extra: int = 64
    max_head_bytes: int = 1 << 16
    head_s: float = 20.0
    idle_s: float = 120.0
    stall_s: float = 30.0
    stall_bytes: int = 1 << 17
    linger_s: float = 5.0
    max_linger_bytes: int = 1 << 26
    slow_s: float = 2.0
    slow_bytes: int = 1 << 20
    health_s: float = 5.0
    request_s: float = 300.0
    drain_s: float = 30.0

    def answer_s(self, *, is_health: bool = False) -> float:
        """Return the time to an answer."""
        return self.health_s if is_health else self.request_s

    def within_file_limit(self) -> Self:
        """Return these limits with as many connections as this process may open files.

        Its own limit is raised as far as the system allows.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self.max_connections + self.max_extra + _OWN_FILES
        if soft != resource.RLIM_INFINITY and soft < wanted:
            raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
                soft = raised
            except (OSError, ValueError):  # macOS has another bound besides
                _log.warning("the limit of open files cannot be raised over %d", soft)
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return self
        connections = max(16, soft - min(_OWN_FILES, soft // 2) - self.max_extra)
        _log.warning("%d open files are allowed: at most %d connections", soft, connections)
        return replace(self, max_connections=connections)
