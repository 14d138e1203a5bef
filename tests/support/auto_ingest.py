"""autoIngest as its clients ask for it: a web server with slices, requests, and their answers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from werkzeug.test import TestResponse

from ingest_queue.images.tiles import encode_png
from tests.support.app import Server
from tests.support.http_jobs import errors, show, work
from tests.support.stub_server import running

DEPTH, HEIGHT, WIDTH, OFFSET = 35, 30, 50, 2
STACK = np.random.default_rng(5).integers(1, 255, (DEPTH, HEIGHT, WIDTH)).astype(np.uint8)
SUCCESS = "SUCCESS. The ingest process has now started."


class Web:
    """A folder served on this machine, with a list of what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.failing: dict[str, int] = {}
        web = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                web.asked.append(self.path)
                if web.failing.get(self.path, 0) > 0:
                    web.failing[self.path] -= 1
                    self.send_error(503)
                    return
                super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.host = f"127.0.0.1:{self.server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def slices(
        self, stack: NDArray[Any] = STACK, under: str = "tk/em", first: int = OFFSET
    ) -> None:
        folder = self.folder / under
        folder.mkdir(parents=True, exist_ok=True)
        for z, plane in enumerate(stack, first):
            (folder / f"{z:04d}.png").write_bytes(encode_png(plane))


@contextmanager
def serving_folder(folder: Path) -> Iterator[Web]:
    made = Web(folder)
    with running(made.server):
        yield made


def channel(url: str, **changes: Any) -> dict[str, Any]:
    return {
        "channel_name": "em",
        "datatype": "uint8",
        "channel_type": "image",
        "data_url": url,
        "file_format": "SLICE",
        "file_type": "png",
    } | changes


def request(url: str, **changes: Any) -> dict[str, Any]:
    """Return a request; changes of the channel, but ``dataset`` and ``project``."""
    dataset = {
        "dataset_name": "ds",
        "imagesize": [WIDTH, HEIGHT, DEPTH],
        "voxelres": [4.0, 4.0, 30.0],
        "offset": [0, 0, OFFSET],
    } | changes.pop("dataset", {})
    project = {"project_name": "pj", "token_name": "tk", "public": 1} | changes.pop("project", {})
    return {
        "dataset": dataset,
        "project": project,
        "channels": {"em": channel(url, **changes)},
        "metadata": {"lab": "of mice"},
    }


def post(
    server: Server, doc: Any, user: str | None = "alice", path: str = "/sd/autoIngest/"
) -> Any:
    return server.post(path, user, data=json.dumps(doc))


def begin(server: Server, doc: Any) -> str:
    answer = post(server, doc, path="/v1/auto-ingest")
    assert answer.status_code == 201, answer.text
    job: str = answer.get_json()["jobs"]["em"]["id"]
    return job


def fetch_to(server: Server, job: str, ending: str, voxels: NDArray[Any] | None = STACK) -> None:
    """Deliver all calls, and make sure of the job's end and of what is stored."""
    work(server)
    assert state(server, job) == ending, errors(server, job)
    assert ending != "COMPLETE" or errors(server, job) == []
    if voxels is not None:
        assert np.array_equal(stored(server, dtype=voxels.dtype), voxels)


def ingest(server: Server, web: Web, **wishes: Any) -> str:
    web.slices()
    job = begin(server, request(web.url, **wishes))
    work(server)
    return job


def state(server: Server, job: str) -> str:
    found: str = show(server, job)["state"]
    return found


def stored(server: Server, time: str = "", dtype: Any = np.uint8) -> NDArray[Any]:
    box = f"x=0:{WIDTH}&y=0:{HEIGHT}&z={OFFSET}:{OFFSET + DEPTH}&format=raw{time}"
    body = server.read(f"/v1/projects/tk/channels/em/cutout?{box}")
    return np.frombuffer(body, dtype).reshape(DEPTH, HEIGHT, WIDTH)


def text(answer: TestResponse, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/json"
    words = answer.get_json()
    assert isinstance(words, str)
    return words


def said(server: Server, doc: Any, user: str | None = "alice", status: int = 400) -> str:
    """Return what ndstore's route answers."""
    return text(post(server, doc, user), status)


def assert_taken(server: Server, doc: Any, user: str | None = "alice") -> None:
    assert said(server, doc, user, 200) == SUCCESS
