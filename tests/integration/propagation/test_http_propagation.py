"""Propagation over HTTP, by the client and by the command, on files and on moto."""

import json
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from functions import propagate
from ndlambda import runtime
from ndlambda.cli.data.propagate import propagate as propagate_command
from ndlambda.client import connect
from ndlambda.errors import InvalidStateError
from ndlambda.local.pump import pump_once
from tests.support.app import (
    SHAPE,
    V1,
    Server,
    assert_problem,
    run_command,
    server_fixture,
    v1_cutout,
)
from tests.support.fake_server import WsgiTransport

EM = f"{V1}/open/channels/em/propagation"
VOXELS = np.random.default_rng(3).integers(1, 255, SHAPE).astype("u1")


still = server_fixture()
"""A server on files whose tests put states back, or change none."""


@pytest.fixture
def working(disk, monkeypatch):
    """A server that does its work while the command waits."""
    command = sys.modules[propagate_command.callback.__module__]
    monkeypatch.setattr(command, "time", SimpleNamespace(sleep=lambda _: work(disk)))
    return disk


def write(server: Server, channel: str = "em", user: str = "alice") -> None:
    server.write(v1_cutout("open", channel) + "&format=raw", VOXELS.tobytes(), user)


def work(server: Server) -> None:
    runtime.install(server.runtime)
    while pump_once(server.runtime.resources.queues.propagate, propagate.handler, 1):
        pass


def states(server: Server, channels: str = "em") -> str:
    return server.read(f"/sd/open/{channels}/getPropagate/").decode()


def command(server: Server, line: str) -> Any:
    return run_command(server, *line.split())


def test_ndstores_clients_start_and_ask(disk):
    write(disk)
    answer = disk.get("/sd/open/em/setPropagate/1/", "alice")
    assert (answer.status_code, answer.data) == (200, b"")
    assert states(disk) == "1"
    work(disk)
    assert states(disk) == "2"
    level = disk.read(v1_cutout("open", "em", "resolution=1&format=npy"))
    assert len(level) > 1000


@pytest.mark.parametrize(("state", "value", "status"), [
    (0, "1", 200), (0, "1,1,0", 200), (0, "0", 200), (0, "2", 404), (0, "x", 404),
    (1, "1", 404), (1, "0", 404), (2, "1", 404), (2, "2", 404), (2, "0", 200),
])  # fmt: skip
def test_transitions_are_ndstores(still, state, value, status):
    still.runtime.catalog.update_channel("pr", "em", propagate=state)
    answer = still.get(f"/sd/open/em/setPropagate/{value}/", "alice")
    assert answer.status_code == status
    changed = {"1": "1", "0": "0"}[value[0]] if status == 200 else str(state)
    assert states(still) == changed
    still.runtime.catalog.update_channel("pr", "em", propagate=0)


def test_a_readonly_channel_is_not_set_back_nor_started_with_others(disk):
    """All are checked before one is started."""
    disk.runtime.catalog.update_channel("pr", "frozen", propagate=2)
    assert disk.get("/sd/open/frozen/setPropagate/0/", "alice").status_code == 404
    assert states(disk, "frozen") == "2"
    disk.runtime.catalog.update_channel("pr", "frozen", propagate=0)
    assert disk.get("/sd/open/em,frozen/setPropagate/1/", "alice").status_code == 404
    assert states(disk, "em,frozen") == "0,0"
    assert disk.get("/sd/open/em,em2,em/setPropagate/1/", "alice").status_code == 200
    assert states(disk, "em,em2") == "1,1"


@pytest.mark.parametrize("store", ["disk", "aws_server"])
def test_a_propagation_is_started_watched_and_done(request, store):
    server: Server = request.getfixturevalue(store)
    write(server)
    answer = server.post(EM, "alice", json={"method": "nearest"})
    assert answer.status_code == 202
    started = answer.get_json()
    assert (started["state"], started["propagate"]) == ("running", 1)
    assert started["method"] == "nearest"
    work(server)
    done = server.get(EM).get_json()
    assert (done["state"], done["propagate"], done["progress"]) == ("done", 2, 1.0)
    assert done["stale"] == 0
    write(server)
    assert server.get(EM).get_json()["stale"] == 1
    server.post(EM, "alice")
    work(server)
    again = server.get(EM).get_json()
    assert (again["full"], again["method"], again["stale"]) == (False, "nearest", 0)


@pytest.mark.parametrize(
    "body", [{"full": 1}, {"full": "yes"}, {"method": "median"}, {"method": 3}, {"ful": True}]
)
def test_wishes_that_are_not_understood_are_refused(still, body):
    with still.unchanged():
        assert_problem(still.post(EM, "alice", json=body), 422, "ValidationError")
    found = still.get(EM.replace("em/", "em2/")).get_json()
    assert (found["state"], found["propagate"], found["bands"]) == ("never", 0, [])


def test_the_client_starts_follows_and_cancels(disk):
    transport = WsgiTransport(disk.app)
    client = connect("http://in.test", disk.keys["alice"], transport=transport)
    propagation = client.propagation("open", "em")
    write(disk)
    assert propagation.start(full=True)["state"] == "running"
    with pytest.raises(InvalidStateError):
        propagation.start()
    assert propagation.cancel()["state"] == "cancelled"
    propagation.start(method="mean")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        work(disk)

    seen = [status["state"] for status in propagation.follow(2.5, sleep)]
    assert (seen, waits) == (["running", "done"], [2.5])


def test_the_command_starts_watches_and_tells(working):
    write(working)
    assert "never" in command(working, "propagate open em --status").output
    assert command(working, "propagate open em").output.startswith("open/em: running")
    refused = command(working, "propagate open em")
    assert (refused.exit_code, "being propagated" in refused.output) == (5, True)
    watched = command(working, "propagate open em --watch --json")
    assert watched.exit_code == 0, watched.output
    assert json.loads(watched.output)["state"] == "done"
    assert "done, 100%" in command(working, "propagate open em --watch").output


def test_the_command_cancels_and_refuses_what_does_not_go_together(disk):
    command(disk, "propagate open em")
    assert "cancelled" in command(disk, "propagate open em --cancel").output
    assert command(disk, "propagate open em --cancel --full").exit_code == 2
    assert command(disk, "propagate open em --cancel --status").exit_code == 2
    assert command(disk, "propagate open nope").exit_code == 3


def test_a_failed_propagation_is_a_failed_command(working):
    write(working)
    (key,) = [info.key for info in working.runtime.resources.objects.list("pr/em/")]
    path = next((working.settings.data / "objects").rglob(key.rpartition("/")[2] + "*"))
    path.write_bytes(path.read_bytes()[:40])
    failed = command(working, "propagate open em --watch")
    assert failed.exit_code == 1
    assert failed.output.startswith("open/em: failed")
    assert states(working) == "0"
