import json
import shlex
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner

from ndlambda.cli import main
from tests.support.fake_server import KEY, URL, FakeServer


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Command:
    """The command, as typed in a shell, against a server in memory."""

    server: FakeServer

    def __call__(self, line: str, *, typed: str = "", key: str = KEY, **env: str) -> Outcome:
        result = CliRunner().invoke(
            main,
            shlex.split(line),
            obj=self.server.transport(),
            input=typed,
            env={"NDLAMBDA_URL": URL, "NDLAMBDA_KEY": key, "NDLAMBDA_DATA": "", **env},
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    def ok(self, line: str, **options: str) -> Outcome:
        """Run what must succeed."""
        done = self(line, **options)
        assert done.code == 0, done.err
        return done


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def run(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Command(server)
