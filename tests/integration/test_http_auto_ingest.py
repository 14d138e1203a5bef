"""autoIngest: volumes that are described over HTTP and fetched from a server, or a folder."""

import json
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from werkzeug.test import TestResponse

from functions import ingest_build, resend
from ingest_queue.outbound import HttpReader
from ingest_queue.remote import RemoteFiles
from ndlambda import runtime
from ndlambda.errors import (
    DatasetNotFoundError,
    PermissionDeniedError,
    ProjectNotFoundError,
    TokenNotFoundError,
)
from ndlambda.local.pump import pump_once
from ndlambda.wire.png_slices import encode_png
from tests.support.app import Server, assert_problem, serving

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


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    made = Web(tmp_path / "web")
    thread = Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def server(tmp_path: Path, web: Web) -> Iterator[Server]:
    folder = tmp_path / "data"
    with serving(folder, ingest_allowed_hosts=web.host) as made:
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
    """Give a request; changes of the channel, but ``dataset`` and ``project``."""
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
    """Start an ingest and give the job of its channel."""
    answer = post(server, doc, path="/v1/auto-ingest")
    assert answer.status_code == 201, answer.text
    job: str = answer.get_json()["jobs"]["em"]["id"]
    return job


def fetch(server: Server, times: int = 1) -> None:
    """Deliver all calls; repeated, as if delays had passed."""
    runtime.install(server.runtime)
    for _ in range(times):
        while pump_once(server.runtime.ingest_queue, ingest_build.handler):
            pass


def state(server: Server, job: str) -> str:
    found: str = server.get(f"/v1/ingest/{job}", "alice").get_json()["state"]
    return found


def errors(server: Server, job: str) -> list[dict[str, Any]]:
    wanted = {"Accept": "application/json"}
    answer = server.get(f"/v1/ingest/{job}/errors", "alice", headers=wanted)
    listed: list[dict[str, Any]] = answer.get_json()["errors"]
    return listed


def stored(server: Server, time: str = "", dtype: Any = np.uint8) -> NDArray[Any]:
    box = f"x=0:{WIDTH}&y=0:{HEIGHT}&z={OFFSET}:{OFFSET + DEPTH}&format=raw{time}"
    body = server.read(f"/v1/projects/tk/channels/em/cutout?{box}")
    return np.frombuffer(body, dtype).reshape(DEPTH, HEIGHT, WIDTH)


# --- volumes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/sd/autoIngest/", "/nd/ca/autoIngest", "/ocp/ca/json/"])
def test_a_volume_is_described_fetched_and_served(server: Server, web: Web, path: str):
    web.slices()
    answer = post(server, request(web.url + "/"), path=path)
    assert (answer.status_code, answer.get_json()) == (200, SUCCESS)
    fetch(server)
    (job,) = server.get("/v1/ingest", "alice").get_json()["jobs"]
    assert job["state"] == "COMPLETE"
    assert np.array_equal(stored(server), STACK)
    assert sorted(web.asked) == [f"/tk/em/{z:04d}.png" for z in range(OFFSET, OFFSET + DEPTH)]
    info = server.get("/sd/tk/info/").get_json()
    assert info["dataset"]["offset"]["0"] == [0, 0, OFFSET]


def test_time_points_have_folders(server: Server, web: Web):
    """ndstore's last version built the same address for all of them."""
    for t in (1, 2):
        web.slices(STACK + np.uint8(t), f"tk/em/time{t:04d}")
    begin(server, request(web.url, channel_type="timeseries", timerange=[1, 3]))
    fetch(server)
    for t in (1, 2):
        assert np.array_equal(stored(server, f"&t={t}:{t + 1}"), STACK + np.uint8(t))


def test_ndio_says_the_time_range_with_the_dataset(server: Server, web: Web):
    doc = request(web.url, channel_type="timeseries", dataset={"timerange": [1, 3]})
    assert post(server, doc).status_code == 200
    made = server.runtime.catalog.get_channel("pj", "em")
    assert (made.starttime, made.endtime) == (1, 3)


def test_catmaid_tiles_are_put_together(server: Server, web: Web):
    """Tiles of 1024 pixels; those at the edges are short, and one reaches over."""
    size = {"imagesize": [1100, 1030, 2], "scalinglevels": 1}
    planes = np.random.default_rng(1).integers(1, 255, (2, 1030, 1100)).astype(np.uint8)
    for z, plane in enumerate(planes, OFFSET):
        folder = web.folder / "em" / str(z) / "0"
        folder.mkdir(parents=True)
        whole = np.zeros((2048, 2048), np.uint8)
        whole[:1030, :1100] = plane
        for row, column in np.ndindex(2, 2):
            tile = whole[row * 1024 : (row + 1) * 1024, column * 1024 : (column + 1) * 1024]
            short = tile[: max(1030 - row * 1024, 0), : max(1100 - column * 1024, 0)]
            chosen = tile if (row, column) == (1, 1) else short[:1024, :1024]
            (folder / f"{row}_{column}.png").write_bytes(encode_png(chosen))
    job = begin(server, request(web.url, file_format="catmaid", dataset=size))
    fetch(server)
    assert errors(server, job) == []
    assert state(server, job) == "COMPLETE"
    body = server.read(
        f"/v1/projects/tk/channels/em/cutout?x=0:1100&y=0:1030&z={OFFSET}:{OFFSET + 2}&format=raw"
    )
    assert np.array_equal(np.frombuffer(body, np.uint8).reshape(planes.shape), planes)


def test_of_coloured_tiles_the_first_band_is_taken(server: Server, web: Web):
    colours = np.full((HEIGHT, WIDTH), 0xFF030209, np.uint32)
    for z in range(OFFSET, OFFSET + DEPTH):
        folder = web.folder / "em" / str(z) / "0"
        folder.mkdir(parents=True)
        (folder / "0_0.png").write_bytes(encode_png(colours))
    begin(server, request(web.url, file_format="CATMAID"))
    fetch(server)
    assert (stored(server) == 9).all()


def test_colours_are_packed_into_uint32(server: Server, web: Web):
    stack = STACK.astype(np.uint32) | 0xFF000000
    web.slices(stack)
    begin(server, request(web.url, datatype="uint32"))
    fetch(server)
    assert np.array_equal(stored(server, dtype=np.uint32), stack)


def test_a_folder_that_the_operator_opened_is_read(tmp_path: Path, web: Web):
    web.slices()
    with serving(tmp_path / "open", ingest_file_roots=f"/nowhere:{web.folder}") as server:
        job = begin(server, request(web.folder.as_uri()))
        fetch(server)
        assert state(server, job) == "COMPLETE"
        assert np.array_equal(stored(server), STACK)


def test_a_bucket_is_read_as_everybody_may_read_it(server: Server, web: Web):
    web.slices(under="lab-data/stacks/tk/em")
    files = RemoteFiles(HttpReader([web.host]), s3_url=f"{web.url}/{{bucket}}/{{key}}")
    server.runtime.fetcher.files = files
    begin(server, request("s3://lab-data/stacks"))
    fetch(server)
    assert np.array_equal(stored(server), STACK)


# --- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "ending"), [("zero", "COMPLETE_WITH_ERRORS"), ("skip", "COMPLETE_WITH_ERRORS")]
)
def test_a_slice_that_is_not_there_is_a_fault_and_comes_by_retry(
    server: Server, web: Web, policy: str, ending: str
):
    web.slices()
    late = web.folder / "tk/em/0007.png"
    body = late.read_bytes()
    late.unlink()
    job = begin(server, request(web.url, on_bad=policy))
    fetch(server)
    assert state(server, job) == ending
    (fault,) = errors(server, job)
    assert fault["part"] == 7
    assert "0007.png answers 404" in fault["error"]
    expected = STACK.copy()
    expected[7 - OFFSET] = 0
    assert np.array_equal(stored(server), expected)
    late.write_bytes(body)
    web.asked.clear()
    assert server.post(f"/v1/ingest/{job}/retry", "alice").status_code == 202
    fetch(server)
    assert (state(server, job), errors(server, job)) == ("COMPLETE", [])
    assert web.asked == ["/tk/em/0007.png"]
    assert np.array_equal(stored(server), STACK)


def test_a_missing_slice_fails_the_job_unless_told_otherwise(server: Server, web: Web):
    """ndstore stored zeros, and nobody knew."""
    web.slices()
    late = web.folder / "tk/em/0007.png"
    body = late.read_bytes()
    late.unlink()
    job = begin(server, request(web.url))
    fetch(server)
    failed = server.get(f"/v1/ingest/{job}", "alice").get_json()
    assert failed["state"] == "FAILED"
    assert "0007.png answers 404" in failed["reason"]
    late.write_bytes(body)
    server.post(f"/v1/ingest/{job}/retry", "alice")
    fetch(server)
    assert state(server, job) == "COMPLETE"
    assert np.array_equal(stored(server), STACK)


def test_a_missing_tile_is_a_missing_slice(server: Server, web: Web):
    job = begin(server, request(web.url, file_format="CATMAID"))
    fetch(server)
    assert state(server, job) == "FAILED"
    assert "/em/2/0/0_0.png answers 404" in str(errors(server, job))


def test_a_server_that_fails_is_asked_again_later(
    server: Server, web: Web, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ingest_queue.fetch._DELAY_S", 0)
    web.slices()
    web.failing = {"/tk/em/0005.png": 3}
    job = begin(server, request(web.url))
    fetch(server)
    assert (state(server, job), errors(server, job)) == ("COMPLETE", [])
    assert web.asked.count("/tk/em/0005.png") == 4
    assert web.asked.count("/tk/em/0006.png") == 1


def test_a_server_that_keeps_failing_is_a_fault(
    server: Server, web: Web, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ingest_queue.fetch._DELAY_S", 0)
    web.slices()
    web.failing = {"/tk/em/0005.png": 99}
    job = begin(server, request(web.url))
    fetch(server)
    assert state(server, job) == "FAILED"
    assert web.asked.count("/tk/em/0005.png") == 5
    assert "answers 503" in errors(server, job)[0]["error"]


def test_a_huge_file_is_not_read(server: Server, web: Web):
    web.slices()
    with (web.folder / "tk/em/0003.png").open("r+b") as file:
        file.truncate(1 << 33)  # of holes
    job = begin(server, request(web.url))
    fetch(server)
    assert state(server, job) == "FAILED"
    assert "longer than" in errors(server, job)[0]["error"]


def test_lost_calls_are_made_again_by_the_schedule(server: Server, web: Web):
    """Seen to fail when the sweep of fetched jobs is left out of ``functions/resend``."""
    web.slices()
    job = begin(server, request(web.url))
    while messages := server.runtime.ingest_queue.receive():
        server.runtime.ingest_queue.ack([message.receipt for message in messages])
    runtime.install(server.runtime)
    for _ in range(2):  # at first it is only noted that nothing has come
        assert resend.handler({})["fetched ingests"] == 1
    fetch(server)
    assert state(server, job) == "COMPLETE"


def test_slabs_are_called_for_a_window_at_a_time(
    server: Server, web: Web, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("ingest_queue.fetch._WINDOW", 1)
    web.slices()
    job = begin(server, request(web.url))
    fetch(server)
    assert state(server, job) == "COMPLETE"


def test_a_job_whose_last_worker_died_is_closed_by_the_schedule(server: Server, web: Web):
    web.slices()
    (web.folder / "tk/em/0007.png").unlink()
    job = begin(server, request(web.url, on_bad="zero"))
    close = server.runtime.ingest.intake.close
    server.runtime.ingest.intake.close = lambda job: None  # type: ignore[method-assign]
    fetch(server)
    assert state(server, job) == "INGESTING"
    server.runtime.ingest.intake.close = close  # type: ignore[method-assign]
    server.runtime.fetcher.sweep()
    fetch(server)
    assert state(server, job) == "COMPLETE_WITH_ERRORS"


def test_calls_of_a_cancelled_job_fetch_nothing(server: Server, web: Web):
    web.slices()
    job = begin(server, request(web.url))
    server.call("DELETE", f"/v1/ingest/{job}", "alice")
    fetch(server)
    assert web.asked == []


# --- where nobody may be led -------------------------------------------------------------------


def test_an_address_that_is_not_listed_is_a_fault_and_not_asked(tmp_path: Path, web: Web):
    web.slices()
    with serving(tmp_path / "data") as server:
        job = begin(server, request(web.url))
        fetch(server)
        assert state(server, job) == "FAILED"
        assert "not on the internet" in errors(server, job)[0]["error"]
    assert web.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://brain.example/",
        "gopher://brain.example/",
        "http://alice:secret@brain.example/",
        "http://brain.example/?x=",
        "brain.example",
        "file:///etc",
        "file://elsewhere/etc",
        "s3://lab.data.with.dots/x",
        "s3://evil.example#/x",
    ],
)
def test_an_address_that_is_never_read_is_refused_at_once(server: Server, url: str):
    with server.unchanged():
        answer = post(server, request(url), path="/v1/auto-ingest")
        problem = assert_problem(answer, 422, "ValidationError")
        assert [each["field"] for each in problem["errors"]] == ["channels.em.data_url"]


def test_files_are_read_under_their_roots_only(tmp_path: Path):
    """Neither by dots, nor by links, nor from pipes."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root, outside, tmp_path / "root-of-another"):
        folder.mkdir()
        (folder / "a.png").write_bytes(b"abc")
    (root / "link").symlink_to(outside)
    (root / "link.png").symlink_to(outside / "a.png")
    files = RemoteFiles(HttpReader(), [root])
    assert files.read((root / "a.png").as_uri(), 3) == b"abc"
    for path in ("link/a.png", "link.png", "../outside/a.png", "../root-of-another/a.png"):
        with pytest.raises(PermissionDeniedError):
            files.read(f"{root.as_uri()}/{path}", 10)
    with pytest.raises(PermissionDeniedError):
        files.read(f"{root.as_uri()}/%2e%2e/outside/a.png", 10)
    with pytest.raises(PermissionDeniedError):
        RemoteFiles(HttpReader()).read((root / "a.png").as_uri(), 10)


# --- what is asked for -------------------------------------------------------------------------


def text(answer: TestResponse, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/json"
    words = answer.get_json()
    assert isinstance(words, str)
    return words


def test_all_that_is_wrong_is_said_at_once(server: Server):
    doc = request("http://brain.example", datatype="uint13", file_type="gif", surprise=1)
    doc["dataset"] |= {"imagesize": [1, 2], "dataset_name": 3}
    del doc["project"]["project_name"]
    doc["channels"]["other"] = 7
    with server.unchanged():
        answer = post(server, doc, path="/v1/auto-ingest")
        named = {each["field"] for each in assert_problem(answer, 422, "ValidationError")["errors"]}
        assert named == {
            "dataset.imagesize",
            "dataset.dataset_name",
            "project.project_name",
            "channels.em.file_type",
            "channels.em.surprise",
            "channels.other",
        }
        assert text(post(server, doc)).startswith("FAILED. There was an error in the information")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"datatype": "uint13"}, "channels.em.channel_datatype"),
        ({"channel_name": "two words"}, "channels.em"),
        ({"channel_type": "timeseries"}, "channels.em.timerange"),
        ({"readonly": 1}, "channels.em.readonly"),
        ({"channel_type": "annotation", "datatype": "uint32", "file_type": "jpg"}, None),
        ({"file_format": "CATMAID", "datatype": "float32"}, "channels.em.file_format"),
        ({"dataset": {"dataset_name": "a-b"}}, "dataset"),
        ({"project": {"token_name": "a.b"}}, "project.token_name"),
    ],
)
def test_what_cannot_be_is_refused(server: Server, change: dict[str, Any], field: str | None):
    with server.unchanged():
        answer = post(server, request("http://brain.example", **change), path="/v1/auto-ingest")
        problem = assert_problem(answer, 422, "ValidationError")
        assert [each["field"] for each in problem["errors"]] == [field or "channels.em.file_type"]


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b"{}", b'{"dataset": {}}'])
def test_bodies_that_are_no_request_are_400(server: Server, body: bytes):
    assert text(server.post("/sd/autoIngest/", "alice", data=body))
    answer = server.post("/v1/auto-ingest", "alice", data=body)
    assert_problem(answer, 400, "MalformedBodyError")


def test_a_part_that_is_missing_is_told_in_ndstores_words(server: Server):
    doc = request("http://brain.example")
    del doc["metadata"]
    assert text(post(server, doc)) == (
        "Missing required fields of dataset, project, channels, metadata. Please check if one of "
        "them is not missing."
    )


@pytest.mark.parametrize(
    ("size", "levels"),
    [
        ([2000, 2000, 2], 1),
        ([1000, 1000, 2], 0),
        ([9000, 9000, 2], 4),
        ([9000, 400, 2], 0),
    ],
)
def test_levels_are_ndstores_where_none_are_asked_for(server: Server, size: list[int], levels: int):
    doc = request("http://brain.example", dataset={"imagesize": size})
    assert post(server, doc).status_code == 200
    assert server.runtime.catalog.get_dataset("ds").scalinglevels == levels


def test_what_is_there_is_used_and_other_things_are_not_overwritten(server: Server):
    url = "http://brain.example"
    assert text(post(server, request(url)), 200) == SUCCESS
    second = request(url, channel_name="second")
    assert text(post(server, second), 200) == SUCCESS
    with server.unchanged():
        assert text(post(server, request(url))) == (
            "Channel em already exists. Please choose a different channel name."
        )
        other = request(url, dataset={"imagesize": [9, 9, 9]})
        assert text(post(server, other)) == (
            "Dataset ds already exists and is different then the chosen dataset. Please choose a "
            "different dataset name"
        )
        elsewhere = request(url, dataset={"dataset_name": "ds2"})
    assert text(post(server, elsewhere)) == (
        "Project pj already exists. Please choose a different project name"
    )
    third = request(url, project={"project_name": "pj3"})
    assert text(post(server, third)) == (
        "Token tk already exists. Please choose a different token name."
    )
    catalog = server.runtime.catalog
    with pytest.raises(DatasetNotFoundError):
        catalog.get_dataset("ds2")
    with pytest.raises(ProjectNotFoundError):
        catalog.get_project("pj3")


def test_other_peoples_things_are_not_filled(server: Server):
    assert post(server, request("http://brain.example")).status_code == 200
    doc = request("http://brain.example", channel_name="theirs")
    with server.unchanged():
        assert "Dataset ds already exists" in text(post(server, doc, "bob"))
    assert text(post(server, doc, "admin"), 200) == SUCCESS


def test_a_request_that_fails_half_way_leaves_nothing(tmp_path: Path):
    """The second channel is one job too many.

    Seen to fail when nothing is taken back.
    """
    with serving(tmp_path / "data", ingest_user_jobs=1) as server:
        doc = request("http://brain.example")
        doc["channels"]["more"] = channel("http://brain.example", channel_name="more")
        answer = post(server, doc)
        assert_problem(answer, 429, "QuotaExceededError")
        catalog = server.runtime.catalog
        with pytest.raises(DatasetNotFoundError):
            catalog.get_dataset("ds")
        with pytest.raises(ProjectNotFoundError):
            catalog.get_project("pj")
        with pytest.raises(TokenNotFoundError):
            catalog.project_view("tk", fresh=True)
        states = {job["state"] for job in server.get("/v1/ingest", "alice").get_json()["jobs"]}
        assert states == {"CANCELLED"}
        del doc["channels"]["more"]
        assert text(post(server, doc), 200) == SUCCESS


def test_nobody_may_unless_everybody_may(tmp_path: Path):
    with serving(tmp_path / "closed") as server, server.unchanged():
        assert_problem(post(server, request("http://x.example"), None), 403, "AuthenticationError")
        answer = post(server, request("http://x.example"), None, "/v1/auto-ingest")
        assert_problem(answer, 401, "AuthenticationError")
    with serving(tmp_path / "open", anonymous_write=True) as server:
        assert text(post(server, request("http://x.example"), None), 200) == SUCCESS
        assert server.runtime.catalog.get_dataset("ds").user_id == 0
