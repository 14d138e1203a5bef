"""Runs waitress with a graceful shutdown: after SIGTERM, requests under way are finished."""

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
_SILENT_S: Final = 0.2
_TURN_S: Final = 0.25
_DRAIN_TURN_S: Final = 0.05


class WsgiServer:
    """A listening server.

    Parameters
    ----------
    app
        WSGI application.
    address
        Name or address to listen on, and a port; 0 takes a free one.
    options
        Further settings of waitress.

    Raises
    ------
    OSError
        The address is not one of this machine, or the port is taken.
    """

    def __init__(self, app: Any, address: tuple[str, int], **options: Any) -> None:
        name, port = address
        # localhost has an address of each family, each with a free port of its own.
        is_v6 = ":" in name
        self._host = f"[{name}]" if is_v6 else name
        self._sockets: dict[int, Any] = {}
        self._server: Any = waitress.create_server(
            app, map=self._sockets, host=name, port=port, ipv4=not is_v6, ipv6=is_v6, **options
        )
        self._is_stopping = False

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"http://{self._host}:{self._server.effective_port}"

    def run(self, ready: Callable[[], None], *, ending: bool = False) -> None:
        """Serve until SIGTERM or SIGINT, then finish the requests under way and return.

        Parameters
        ----------
        ready
            Called once the signal handlers are installed.
        ending
            Whether the process ends after this: further signals are then ignored, so that a second
            one does not interrupt the shutdown. Else the previous handlers are restored.
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
                signal.signal(number, signal.SIG_IGN if ending else handler)

    def _ask_to_stop(self, _signal: int, _frame: FrameType | None) -> None:
        # An exception would not do: waitress would treat it as the failure of the connection being
        # read or written, close that and go on. The loop's waits are short, since a signal that
        # arrives just before a wait does not interrupt it.
        self._is_stopping = True

    def _turn(self, timeout_s: float) -> None:
        self._server.asyncore.loop(timeout=timeout_s, map=self._sockets, count=1)

    def _drain(self) -> None:
        self._turn(0)  # a connection made before the signal may not be accepted yet
        self._server.accepting = False
        self._server.del_channel()
        self._server.socket.close()
        deadline = time.monotonic() + _DRAIN_S
        channels: dict[int, Any] = self._server.active_channels
        while channels and time.monotonic() < deadline:
            for channel in tuple(channels.values()):
                _wind_up(channel)
            self._turn(_DRAIN_TURN_S)
        if channels:
            _log.warning("%d connections did not end within %d s", len(channels), _DRAIN_S)
        self._server.task_dispatcher.shutdown()
        self._server.trigger.close()


def _wind_up(channel: Any) -> None:
    """Close a connection as soon as all of its requests are answered.

    Keep-alive connections would otherwise send new requests without end. A partly received request
    is waited for while its bytes keep arriving.
    """
    with channel.requests_lock:
        for request in channel.requests:
            request.headers["CONNECTION"] = "close"  # so does waitress's answer then
        is_busy = bool(channel.requests or channel.total_outbufs_len)
        max_silence_s = _SILENT_S if channel.request is None else _STALLED_S
        if not is_busy and time.time() - channel.last_activity > max_silence_s:
            channel.will_close = True
