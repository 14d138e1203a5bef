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
        # A name like localhost stands for an address of each family, with a free port of its own.
        is_v6 = ":" in name
        self._host = f"[{name}]" if is_v6 else name
        self._sockets: dict[int, Any] = {}
        self._server: Any = waitress.create_server(
            app, map=self._sockets, host=name, port=port, ipv4=not is_v6, ipv6=is_v6, **options
        )
        self._is_stopping = False

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self._host}:{self._server.effective_port}"

    def run(self, ready: Callable[[], None], *, ending: bool = False) -> None:
        """Answer until SIGTERM or SIGINT, then finish the requests under way and return.

        Parameters
        ----------
        ready
            Called once signals are heeded.
        ending
            Whether the process ends after this: further signals are then ignored to its end, so
            that an impatient second one does not cut the end short. Else they mean afterwards what
            they meant before.
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
        # No exception: waitress would take it for the failure of whichever connection this thread
        # happens to be reading or writing, close that one and go on. And no wait without an end
        # in the loop: a signal that comes just before it does not interrupt it.
        self._is_stopping = True

    def _turn(self, timeout_s: float) -> None:
        self._server.asyncore.loop(timeout=timeout_s, map=self._sockets, count=1)

    def _drain(self) -> None:
        self._turn(0)  # a connection made before the signal may still wait to be accepted
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
        is_busy = bool(channel.requests or channel.total_outbufs_len)
        patience_s = _SILENT_S if channel.request is None else _STALLED_S
        if not is_busy and time.time() - channel.last_activity > patience_s:
            channel.will_close = True
