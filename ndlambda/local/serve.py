"""``ndlambda serve``: waitress and the queue pump in one process."""

import logging
import os
import secrets
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import waitress

from ndlambda import log, runtime
from ndlambda.errors import AlreadyExistsError
from ndlambda.local.pump import Pump
from ndlambda.runtime import ADMIN, Runtime
from ndlambda.settings import Settings
from ndlambda.web.app import App

_log = logging.getLogger("ndlambda.local")
_DRAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the command line says; everything else comes from the environment.

    Attributes
    ----------
    data
        Folder of the stores (with moto: only of the admin key).
    port
        0 takes a free one; the ready line tells which.
    moto
        Run the AWS adapters against moto in this process; nothing is kept.
    threads
        Requests answered at once.
    """

    data: Path
    port: int = 8080
    host: str = "127.0.0.1"
    moto: bool = False
    threads: int = 8


class _Stop(Exception):  # noqa: N818 - a signal, not an error
    """SIGTERM or SIGINT arrived."""


def run(options: ServeOptions, out: TextIO = sys.stdout) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests under way and return."""
    log.configure()
    with ExitStack() as stack:
        settings = replace(Settings.from_environment(), data=options.data)
        if options.moto:
            settings = _start_moto(stack, settings)
        built = runtime.build(settings)
        stack.callback(built.executor.shutdown)
        runtime.install(built)
        ensure_admin(built)
        pump = Pump(built)
        pump.start()
        stack.callback(pump.stop)
        _serve(options, built, out)


def _start_moto(stack: ExitStack, settings: Settings) -> Settings:
    from ndlambda.local.moto import start_moto

    server = start_moto()
    stack.callback(server.stop)
    moto_takes_any = "testing"
    os.environ.update(
        AWS_ACCESS_KEY_ID=moto_takes_any,
        AWS_SECRET_ACCESS_KEY=moto_takes_any,
        AWS_DEFAULT_REGION="us-east-1",
        AWS_EC2_METADATA_DISABLED="true",
    )
    settings.data.mkdir(parents=True, exist_ok=True)
    settings = replace(
        settings,
        store="aws",
        aws_endpoint=server.endpoint,
        secret=runtime.keep_file(settings.data / "secret.key", lambda: os.urandom(32).hex()),
    )
    runtime.create_aws_stores(settings)
    return settings


def ensure_admin(built: Runtime) -> None:
    """Make the superuser ``admin`` at first start, with a key that the operator can find.

    The key is ``NDLAMBDA_ADMIN_KEY``, or else one generated into ``data/admin.key`` (mode 600).
    A later start registers a new key from the variable, or anew where the file was deleted; a
    key that was revoked and still lies in the file stays revoked.
    """
    kept = built.settings.data / "admin.key"
    is_news = bool(built.settings.admin_key) or not kept.exists()
    key = built.settings.admin_key or runtime.keep_file(kept, lambda: secrets.token_hex(32))
    try:
        built.users.create_user(ADMIN, superuser=True, key=key)
    except AlreadyExistsError:
        if is_news and built.users.authenticate(key) is None:
            built.users.issue_key(ADMIN, key=key)


def _serve(options: ServeOptions, built: Runtime, out: TextIO) -> None:
    server = waitress.create_server(
        App(built),
        host=options.host,
        port=options.port,
        threads=options.threads,
        max_request_body_size=built.settings.body_bytes,
        ident=None,
        channel_timeout=300,
    )
    previous = {sig: signal.signal(sig, _raise_stop) for sig in (signal.SIGTERM, signal.SIGINT)}
    try:
        print(
            f"ndlambda ready on http://{options.host}:{server.effective_port}", file=out, flush=True
        )
        server.asyncore.loop(map=server._map)  # noqa: SLF001 - as waitress's own run() does
    except _Stop:
        for sig in previous:
            signal.signal(sig, signal.SIG_IGN)
        _log.info("stopping: finishing the requests under way")
        _drain(server)
    finally:
        for sig, handler in previous.items():
            signal.signal(sig, handler)


def _raise_stop(_signal: int, _frame: FrameType | None) -> None:
    raise _Stop


def _drain(server: Any) -> None:
    """Accept nothing more, but answer what has been accepted."""
    server.accepting = False
    server.del_channel()
    server.socket.close()
    deadline = time.monotonic() + _DRAIN_S
    while time.monotonic() < deadline and any(
        channel.requests or channel.total_outbufs_len
        for channel in tuple(server.active_channels.values())
    ):
        server.asyncore.loop(timeout=0.1, map=server._map, count=1)  # noqa: SLF001
    server.task_dispatcher.shutdown()
