"""waitress with an end: after SIGTERM what has been asked is answered, and nothing more."""

import logging
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import waitress

_log = logging.getLogger("ndlambda.local")

_DRAIN_S: Final = 60.0
_STALLED_S: Final = 5.0
_TURN_S: Final = 30.0
_DRAIN_TURN_S: Final = 0.1


class Host:
    """A listening server.

    Parameters
    ----------
    app
        WSGI application.
    options
        Waitress's own.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        self._sockets: dict[int, Any] = {}
        self._server: Any = waitress.create_server(app, map=self._sockets, **options)
        self._is_stopping = False

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.effective_port)

    def run(self, ready: Callable[[], None]) -> None:
        """Answer until SIGTERM or SIGINT, then finish the requests under way and return.

        Parameters
        ----------
        ready
            Called once signals are heeded.
        """
        signals = (signal.SIGTERM, signal.SIGINT)
        previous = {number: signal.signal(number, self._ask_to_stop) for number in signals}
        try:
            ready()
            while not self._is_stopping:
                self._turn(_TURN_S)
            _log.info("stopping: finishing the requests under way")
            self._drain()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _ask_to_stop(self, _signal: int, _frame: FrameType | None) -> None:
        # No exception: waitress would take it for the failure of whichever connection this thread
        # happens to be reading or writing, close that one and go on.
        self._is_stopping = True
        self._server.pull_trigger()

    def _turn(self, timeout_s: float) -> None:
        self._server.asyncore.loop(timeout=timeout_s, map=self._sockets, count=1)

    def _drain(self) -> None:
        self._server.accepting = False
        self._server.del_channel()
        self._server.socket.close()
        deadline = time.monotonic() + _DRAIN_S
        channels: dict[int, Any] = self._server.active_channels
        while channels and time.monotonic() < deadline:
            for channel in channels.values():
                _wind_up(channel)
            self._turn(_DRAIN_TURN_S)
        if channels:
            _log.warning("%d connections did not end in %d s", len(channels), _DRAIN_S)
        self._server.task_dispatcher.shutdown()
        self._server.trigger.close()


def _wind_up(channel: Any) -> None:
    """Close a connection as soon as all that was asked on it is answered.

    Keep-alive connections would otherwise bring new requests for as long as their clients like. A
    request of which only a part has come is waited for while it keeps coming.
    """
    with channel.requests_lock:
        for request in channel.requests:
            request.headers["CONNECTION"] = "close"  # waitress's answer will say so, too
        is_arriving = (
            channel.request is not None and time.time() - channel.last_activity < _STALLED_S
        )
        if not (channel.requests or channel.total_outbufs_len or is_arriving):
            channel.will_close = True
