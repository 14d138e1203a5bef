"""The real server and the real command, each as a process of its own."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ndlambda.client import Client, connect

COMMAND = str(Path(sys.executable).with_name("ndlambda"))
READY = "ndlambda ready on "
_PATIENCE_S = 300.0


class Lines:
    """What a process writes to one stream, line by line, collected by a thread."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._at_end = False
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def wait_for(self, found: Callable[[str], bool], *, count: int = 1) -> list[str]:
        """Wait until so many lines are what is looked for, and give them."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._at_end or len(self._matching(found)) >= count, timeout=_PATIENCE_S
            )
            lines = self._matching(found)
        assert len(lines) >= count, "\n".join(["the awaited line did not come:", *self._lines])
        return lines

    def so_far(self, found: Callable[[str], bool]) -> list[str]:
        with self._changed:
            return self._matching(found)

    def all(self) -> list[str]:
        self._thread.join(_PATIENCE_S)
        return list(self._lines)

    def close(self) -> None:
        self._thread.join(_PATIENCE_S)
        self._stream.close()

    def _matching(self, found: Callable[[str], bool]) -> list[str]:
        return [line for line in self._lines if found(line)]

    def _collect(self) -> None:
        for line in self._stream:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._at_end = True
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Server:
    """A running ``ndlambda serve``."""

    url: str
    data: Path
    process: subprocess.Popen[str]
    out: Lines
    log: Lines = field(repr=False)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def key(self) -> str:
        """The administrator's key, as the server left it in its folder."""
        return (self.data / "admin.key").read_text().strip()

    def wait_for_requests(self, start: str, count: int = 1) -> None:
        """Wait until so many requests were answered whose log message starts like this."""
        message = f'"message": "{start}'
        self.log.wait_for(lambda line: message in line, count=count)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(_PATIENCE_S) == 0, "\n".join(self.log.all()[-30:])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(_PATIENCE_S)

    def command(self, *arguments: object, **environment: str) -> Outcome:
        """Run ``ndlambda ARGUMENTS`` as the administrator of this server."""
        with self.start_command(*arguments, **environment) as process:
            out, err = process.communicate(timeout=_PATIENCE_S)
            return Outcome(process.returncode, out, err)

    def ok(self, *arguments: object) -> str:
        """Run a command that must succeed, and return what it said."""
        done = self.command(*arguments)
        assert done.code == 0, done.err
        return done.out

    def client(self) -> Client:
        """Connect as the administrator."""
        return connect(self.url, self.key)

    def start_command(self, *arguments: object, **environment: str) -> "subprocess.Popen[str]":
        """Start ``ndlambda ARGUMENTS`` as the administrator of this server."""
        own = {"NDLAMBDA_URL": self.url, "NDLAMBDA_DATA": str(self.data)}
        return _start(*arguments, **{**own, **environment})


@contextmanager
def serving(
    data: Path, *options: str, port: int = 0, within: Sequence[str] = (), **environment: str
) -> Iterator[Server]:
    """Run a server on a folder; at the end it is stopped by SIGTERM, unless it has ended.

    Parameters
    ----------
    options
        Further options of ``ndlambda serve``.
    within
        A command that ends in running the one that is appended.
    environment
        Variables beside the ones of this process.
    """
    command = ["serve", "--data", data, "--port", port, *options]
    process = _start(*command, within=within, **environment)
    assert process.stdout is not None
    assert process.stderr is not None
    out, log = Lines(process.stdout), Lines(process.stderr)
    try:
        try:
            (ready,) = out.wait_for(lambda line: line.startswith(READY))
        except AssertionError as error:
            process.kill()
            raise AssertionError("\n".join(["The server did not start:", *log.all()])) from error
        server = Server(ready.removeprefix(READY), data, process, out, log)
        yield server
        if process.poll() is None:
            server.terminate()
    finally:
        process.kill()
        process.wait()
        out.close()
        log.close()


def _start(
    *arguments: object, within: Sequence[str] = (), **environment: str
) -> "subprocess.Popen[str]":
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("NDLAMBDA_")
    }
    return subprocess.Popen(
        [*within, COMMAND, *map(str, arguments)],
        env={**inherited, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
