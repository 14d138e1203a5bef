"""``ndlambda serve``: the HTTP server and the queue pump in one process."""

import errno
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TextIO

from ndlambda import log, runtime
from ndlambda.errors import AlreadyExistsError, InvalidArgumentError
from ndlambda.local.host.limits import Limits
from ndlambda.local.host.server import WsgiServer, listen
from ndlambda.local.host.spool import Spool
from ndlambda.local.published import published
from ndlambda.local.pump import Pump
from ndlambda.local.server_lock import server_lock
from ndlambda.runtime import ADMIN, Runtime
from ndlambda.settings import Settings
from ndlambda.web.app import App

_log = logging.getLogger("ndlambda.local")

_NOTICE_S = 5.0
"""In which a request whose time is up stops by itself."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Options of the command line; all others come from the environment.

    Attributes
    ----------
    data
        Folder of the stores (with moto: only of the admin key).
    port
        0 takes a free one; the ready line shows it.
    moto
        Run the AWS adapters against moto, in memory.
    threads
        Requests answered at once.
    """

    data: Path
    port: int = 8080
    host: str = "127.0.0.1"
    moto: bool = False
    threads: int = 8


def run(options: ServeOptions, out: TextIO = sys.stdout) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests and batches under way and return.

    Further signals are ignored. SIGKILL ends it at once and loses nothing that was acknowledged.
    """
    log.configure()
    with ExitStack() as stack:
        settings = replace(Settings.from_environment(), data=options.data)
        listener = stack.enter_context(_listener(options))  # before a folder is made
        settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if options.moto:
            settings = _start_moto(stack, settings)
        built = runtime.build(settings)
        stack.callback(built.close)
        runtime.install(built)
        ensure_admin(built)
        if not options.moto:  # which keeps no messages over a restart
            take_over = partial(runtime.release_messages, settings)
            if stack.enter_context(server_lock(settings.data, take_over)):
                _log.warning("Another server runs on %s; both share it.", settings.data)
        pump = Pump(built)
        pump.start()
        stack.callback(pump.stop, settings.stop_s / 4)
        _serve(options, built, listener, out)


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
    settings = replace(
        settings,
        store="aws",
        aws_endpoint=server.endpoint,
        secret=runtime.keep_file(settings.data / "secret.key", lambda: os.urandom(32).hex()),
    )
    runtime.create_aws_stores(settings)
    return settings


def ensure_admin(built: Runtime) -> None:
    """Create the superuser ``admin`` at first start, with a key that the operator can find.

    The key is ``NDLAMBDA_ADMIN_KEY``, or else one generated into ``data/admin.key`` (mode 600).
    A later start registers a new key from the variable, or a generated one if the file was
    deleted; a revoked key that is still in the file stays revoked.
    """
    kept = built.settings.data / "admin.key"
    if built.settings.admin_key:
        _register(built, built.settings.admin_key, replaces=True)
    elif kept.exists():
        _register(built, kept.read_text().strip(), replaces=False)
    else:  # registered before it is written, so that a key in the file is always valid
        key = secrets.token_hex(32)
        _register(built, key, replaces=True)
        runtime.keep_file(kept, lambda: key)


def _register(built: Runtime, key: str, *, replaces: bool) -> None:
    try:
        built.users.create_user(ADMIN, superuser=True, key=key)
    except AlreadyExistsError:
        if replaces and built.users.authenticate(key) is None:
            built.users.issue_key(ADMIN, key=key)


def _listener(options: ServeOptions) -> socket.socket:
    try:
        return listen((options.host, options.port))
    except OSError as error:
        raise _explain(error, options) from None


def _serve(options: ServeOptions, built: Runtime, listener: socket.socket, out: TextIO) -> None:
    settings = built.settings
    limits = Limits(
        max_connections=settings.max_connections,
        head_s=settings.header_s,
        stall_s=settings.stall_s,
        drain_s=settings.stop_s / 2,
        request_s=settings.deadline_s + _NOTICE_S,
    )
    spool = Spool(settings.data / "spool", settings.max_spool_bytes)
    address = options.host, options.port
    host = WsgiServer(
        App(built),
        address,
        threads=options.threads,
        limits=limits,
        spool=spool,
        listener=listener,
    )
    built.volume.budget.gate = host.workers
    with published(options.data, host.url):
        host.run(
            lambda: print(f"ndlambda ready on {host.url}", file=out, flush=True),
            partial(end_after, settings.stop_s),
            ending=True,
        )


def _explain(error: OSError, options: ServeOptions) -> InvalidArgumentError:
    where, advice = f"{options.host}:{options.port}", "choose another --port or --host"
    if error.errno == errno.EADDRINUSE:
        advice = "another program listens there, perhaps another server; choose another --port"
    elif error.errno == errno.EACCES:
        advice = "ports under 1024 belong to the system; choose another --port"
    elif isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        advice = "it is no address of this machine; choose another --host"
    return InvalidArgumentError(f"Cannot listen on {where} ({error.strerror}): {advice}.")


def end_after(stop_s: float, end: Callable[[int], object] = os._exit) -> None:
    """End this process after a time, unless it has ended by itself.

    Threads that hang in a request, a batch or a store would else keep it for ever. It loses no more
    than a crash does: nothing that was acknowledged.
    """

    def watch() -> None:
        time.sleep(stop_s)
        _log.error("not everything has ended within %g s; what is left is cut off", stop_s)
        end(1)

    threading.Thread(target=watch, name="end", daemon=True).start()
