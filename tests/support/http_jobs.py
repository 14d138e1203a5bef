"""Ingest jobs over HTTP into the volume of ``tests.support.app``: made, fed, built, looked at."""

import csv
import io
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from functions import ingest_build, s3_drop
from ndlambda import runtime
from ndlambda.client.volume import bodies
from ndlambda.local.pump import pump_once
from tests.support.app import V1, Server
from tests.support.ingest_world import look_after_all, png

JOBS = "/v1/ingest"
FIRST = 1  # the number of the first slice of the volume
STACK = np.random.default_rng(11).integers(1, 255, (40, 200, 300)).astype(np.uint8)
SLICES = {"token": "open", "channel": "em"}
FEW = {"extent": {"x": [8, 40], "y": [4, 36], "z": [30, 36]}}
"""Six small slices in two chunks: 30 to 32, and 33 to 35."""
FEW_SLICES = range(30, 36)
Array = NDArray[np.uint8]


def few() -> Array:
    return STACK[29:35, :32, :32]


@cache
def body_of(z: int) -> bytes:
    return png(few()[z - FEW_SLICES.start])


def make(server: Server, user: str = "alice", *, headers: Any = None, **wishes: Any) -> Any:
    answer = server.post(JOBS, user, json=SLICES | wishes, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.get_json()


def make_few(server: Server, **wishes: Any) -> str:
    job: str = make(server, **FEW, **wishes)["id"]
    return job


def show(server: Server, job: str, root: str = JOBS) -> Any:
    answer = server.get(f"{root}/{job}", "alice")
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def put(server: Server, job: str, chunk: int, name: str, body: bytes, user: str = "alice") -> Any:
    return server.call("PUT", f"{JOBS}/{job}/parts/{chunk}/{name}", user, data=body)


def put_slice(server: Server, job: str, z: int, body: bytes | None = None) -> None:
    answer = put(server, job, 0 if z < 32 + FIRST else 1, f"{z}.png", body or body_of(z))
    assert answer.status_code == 201, answer.text


def put_few(server: Server, job: str, without: int | None = None) -> None:
    for z in FEW_SLICES:
        if z != without:
            put_slice(server, job, z)


def put_boxes(server: Server, job: str, voxels: Array, origin_xyz: Any = (8, 4, 1)) -> int:
    """Send the boxes that are missing, and return how many these were."""
    missing = server.get(f"{JOBS}/{job}/missing", "alice").get_json()["chunks"]
    for chunk in missing:
        where = tuple(
            slice(*(bound - origin for bound in chunk[axis]))
            for axis, origin in zip("zyx", origin_xyz[::-1], strict=True)
        )
        answer = put(server, job, chunk["chunk"], "data.blosc", bodies.encode_array(voxels[where]))
        assert answer.status_code == 201, answer.text
    return len(missing)


def work(server: Server) -> None:
    runtime.install(server.runtime)
    queues = (
        (server.runtime.resources.queues.drop, s3_drop.handler),
        (server.runtime.resources.queues.ingest, ingest_build.handler),
    )
    while any(pump_once(queue, handler) for queue, handler in queues):
        pass


def sweep(server: Server) -> None:
    """Do what the schedule does each minute: calls of chunks went by while their job had failed."""
    look_after_all(server.runtime.ingest.jobs)
    work(server)


def stored(server: Server, box: str = "x=8:40&y=4:36&z=30:36") -> Array:
    """Return the voxels of a box, that of ``FEW`` if no other is given."""
    body = server.read(f"{V1}/open/channels/em/cutout?{box}&format=npy")
    voxels: Array = np.load(io.BytesIO(body))
    return voxels.reshape(voxels.shape[-3:])


def errors(server: Server, job: str) -> list[dict[str, Any]]:
    wanted = {"Accept": "application/json"}
    answer = server.get(f"{JOBS}/{job}/errors", "alice", headers=wanted)
    listed: list[dict[str, Any]] = answer.get_json()["errors"]
    return listed


def error_lines(server: Server, job: str) -> list[dict[str, str]]:
    answer = server.get(f"{JOBS}/{job}/errors", "alice")
    assert answer.content_type == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.data.decode(), newline="")))
