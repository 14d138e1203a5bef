"""A server whose disk goes away while people read, paint, create and ingest, and comes back."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from functions import ingest_build
from ndlambda import runtime
from ndlambda.errors import StoreUnavailableError
from ndlambda.local.pump import pump_once
from tests.support.app import SHAPE, V1, Server, assert_problem, serving, v1_cutout
from tests.support.http_jobs import few, make_few, put_slice, show, stored, sweep

VOXELS = np.random.default_rng(8).integers(1, 255, SHAPE).astype("u1")
EM = v1_cutout("open", "em2") + "&format=raw"
LABELS = v1_cutout("open", "labels") + "&format=raw"
ANNOTATIONS = f"{V1}/open/channels/labels/annotations"
SLICES = range(30, 36)


def rename(folder: Path) -> None:
    folder.rename(folder.with_name("away"))


def replace(folder: Path) -> None:
    rename(folder)
    folder.mkdir()


def bring_back(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name("away").rename(folder)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "data") as made:
        made.write(EM, VOXELS.tobytes())
        yield made


@pytest.mark.parametrize("lose", [rename, replace])
@pytest.mark.parametrize("part", ["objects", "."], ids=["objects", "all"])
def test_nothing_is_invented_or_lost_while_the_disk_is_away(
    server: Server, part: str, lose: Callable[[Path], None]
):
    """Seen to fail where a missing file is an absent object: 200 and zeros; writes got a 200."""
    job = make_few(server)
    for z in SLICES:
        put_slice(server, job, z)
    folder = (server.settings.data / part).absolute()
    lose(folder)

    assert_problem(server.get("/healthz"), 503, "StoreUnavailableError")
    assert_problem(server.get(EM, "alice"), 503, "StoreUnavailableError")
    labels = VOXELS.astype("u4")
    assert server.post(EM, "alice", data=VOXELS.tobytes()).status_code >= 500
    assert server.post(LABELS, "alice", data=labels.tobytes()).status_code >= 500
    if part == ".":
        assert server.post(ANNOTATIONS, "alice", json={"type": "seed"}).status_code >= 500
        assert server.post("/v1/ingest", "alice", json={"token": "open"}).status_code >= 400
    build(server)

    bring_back(folder)
    assert server.get("/healthz").status_code == 200
    assert server.read(EM) == VOXELS.tobytes()
    assert not np.frombuffer(server.read(LABELS), "u4").any()
    server.write(LABELS, labels.tobytes())
    assert server.read(LABELS) == labels.tobytes()
    sweep(server)
    assert show(server, job)["state"] == "COMPLETE"
    np.testing.assert_array_equal(stored(server), few())


def build(server: Server) -> Any:
    """Let a worker try; its message stays."""
    runtime.install(server.runtime)
    try:
        return pump_once(server.runtime.resources.queues.ingest, ingest_build.handler, 10, 0)
    except StoreUnavailableError:
        return None


def test_a_server_does_not_start_without_the_folder_of_its_voxels(server: Server):
    rename(server.settings.data / "objects")
    with pytest.raises(StoreUnavailableError, match="Mount its disk"):
        runtime.build(server.settings)
    bring_back(server.settings.data / "objects")
    runtime.build(server.settings).close()
