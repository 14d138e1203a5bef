"""``ndlambda ingest`` over a network that ends when it is told to, and a server in one process."""

import re
import shlex
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from click.testing import CliRunner

from ndlambda import client as nd
from ndlambda.cli import main
from tests.support.app import Server
from tests.support.fake_server import WsgiTransport
from tests.support.http_jobs import work

URL = "http://in.test"


class KilledError(Exception):
    """The process of the command ended here."""


@dataclass
class Way:
    """The network; ``left`` PUTs get through before the command is killed."""

    server: Server
    left: int | None = None
    sent: list[tuple[str, str]] = field(default_factory=list)

    def send(self, request: nd.Request) -> nd.Answer:
        path = request.url.removeprefix(URL)
        if request.method == "PUT":
            if self.left == 0:
                raise KilledError
            if self.left is not None:
                self.left -= 1
        if request.method == "GET" and re.fullmatch(r"/v1/ingest/[0-9a-f]{16}", path):
            self.build()
        self.sent.append((request.method, path))
        return WsgiTransport(self.server.app).send(request)

    def build(self) -> None:
        work(self.server)

    def puts(self) -> int:
        return sum(method == "PUT" for method, _ in self.sent)


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def job(self) -> str:
        found = re.search(r"\b[0-9a-f]{16}\b", self.err + self.out)
        assert found, self.err + self.out
        return found[0]


@dataclass
class Command:
    server: Server

    def __call__(self, line: str, way: Way | None = None) -> Outcome:
        result = CliRunner().invoke(
            main,
            ["ingest", *shlex.split(line)],
            obj=way or Way(self.server),
            env={
                "NDLAMBDA_URL": URL,
                "NDLAMBDA_KEY": self.server.keys["alice"],
                "NDLAMBDA_DATA": "",
            },
        )
        if not isinstance(result.exception, SystemExit | None):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    def ok(self, line: str, way: Way | None = None) -> Outcome:
        """Run what must succeed."""
        done = self(line, way)
        assert done.code == 0, done.err
        return done

    def stored(self, token: str = "demo", channel: str = "em") -> np.ndarray:
        way: Any = WsgiTransport(self.server.app)
        client = nd.connect(URL, self.server.keys["alice"], transport=way)
        return client.volume(token, channel)[:]
