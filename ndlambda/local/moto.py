"""Runs moto, an emulation of AWS, in this process, made safe for threads.

moto loses concurrent updates: it copies a table when a transaction starts and puts the copy back
when it fails, undoing what other threads wrote, and it updates sets and counters without a lock.
One re-entrant lock around all of it makes it as atomic as AWS.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from ndlambda.errors import InvalidStateError

WsgiApp: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_LOCK: Final = threading.RLock()
"""One for the process, like moto's state."""


@dataclass(frozen=True, slots=True)
class MotoServer:
    """A running server of S3, DynamoDB and SQS, in memory.

    Attributes
    ----------
    endpoint
        Its URL; any access key is accepted.
    """

    endpoint: str
    _server: Any
    _thread: threading.Thread

    def stop(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def start_moto(port: int = 0) -> MotoServer:
    """Start moto in a thread of this process, on 127.0.0.1 and a free port unless given.

    Raises
    ------
    InvalidStateError
        The optional extra ``moto`` is not installed.
    """
    try:
        from moto.moto_server.werkzeug_app import (
            DomainDispatcherApplication,
            MotoRequestHandler,
            create_backend_app,
        )
    except ImportError as error:
        raise InvalidStateError("moto is missing: pip install 'ndlambda[moto]'.") from error
    from werkzeug.serving import make_server

    class QuietHandler(MotoRequestHandler):
        def log_request(self, *args: Any) -> None:
            """Do not log requests."""

    serialise_moto()
    server = make_server(
        "127.0.0.1",
        port,
        one_at_a_time(DomainDispatcherApplication(create_backend_app)),
        threaded=True,
        request_handler=QuietHandler,
    )
    thread = threading.Thread(target=server.serve_forever, name="moto", daemon=True)
    thread.start()
    return MotoServer(f"http://127.0.0.1:{server.port}", server, thread)


def one_at_a_time(app: WsgiApp) -> WsgiApp:
    """Return a WSGI application that serializes requests."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with _LOCK:
            return app(environ, start_response)

    return answer


def serialise_moto() -> None:
    """Make ``moto.mock_aws`` serialize requests; idempotent."""
    from moto.core.botocore_stubber import BotocoreStubber

    answer = BotocoreStubber.__call__
    if getattr(answer, "is_serialised", False):
        return

    def answer_alone(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _LOCK:
            return answer(self, *args, **kwargs)

    vars(answer_alone)["is_serialised"] = True
    BotocoreStubber.__call__ = answer_alone  # type: ignore[method-assign]  # moto offers no hook
