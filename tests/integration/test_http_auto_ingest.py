"""autoIngest: volumes that are described over HTTP and fetched from a server, or a folder."""

import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from functions import batch, ingest_build, resend
from ingest_queue.fetch import worker as fetch_module
from ingest_queue.fetch.http_reader import HttpReader
from ingest_queue.fetch.remote import RemoteFiles
from ingest_queue.fetch.worker import FetchTask
from ingest_queue.images.tiles import encode_png
from ndlambda import runtime
from ndlambda.local.pump import pump_once
from tests.support.app import Server, serving
from tests.support.auto_ingest import (
    DEPTH,
    HEIGHT,
    OFFSET,
    STACK,
    SUCCESS,
    WIDTH,
    Web,
    begin,
    errors,
    fetch,
    ingest,
    post,
    request,
    state,
    stored,
)
from tests.support.faults import Crash

# --- volumes -----------------------------------------------------------------------------------


def test_a_volume_is_described_fetched_and_served(fetching: Server, web: Web):
    web.slices()
    answer = post(fetching, request(web.url + "/"), path="/ocp/ca/json/")
    assert (answer.status_code, answer.get_json()) == (200, SUCCESS)
    fetch(fetching)
    (job,) = fetching.get("/v1/ingest", "alice").get_json()["jobs"]
    assert job["state"] == "COMPLETE"
    assert np.array_equal(stored(fetching), STACK)
    assert sorted(web.asked) == [f"/tk/em/{z:04d}.png" for z in range(OFFSET, OFFSET + DEPTH)]
    info = fetching.get("/sd/tk/info/").get_json()
    assert info["dataset"]["offset"]["0"] == [0, 0, OFFSET]


@pytest.mark.parametrize("wishes", [{"timerange": [1, 3]}, {"dataset": {"timerange": [1, 3]}}])
def test_time_points_have_folders(fetching: Server, web: Web, wishes: dict[str, Any]):
    """ndstore's last version built the same address for all of them. ndio says the time range with
    the dataset."""
    for t in (1, 2):
        web.slices(STACK + np.uint8(t), f"tk/em/time{t:04d}")
    doc = request(web.url, channel_type="timeseries", **wishes)
    assert post(fetching, doc, path="/nd/ca/autoIngest").status_code == 200
    made = fetching.runtime.catalog.get_channel("pj", "em")
    assert (made.starttime, made.endtime) == (1, 3)
    fetch(fetching)
    for t in (1, 2):
        assert np.array_equal(stored(fetching, f"&t={t}:{t + 1}"), STACK + np.uint8(t))


def test_catmaid_tiles_are_put_together(fetching: Server, web: Web):
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
    job = begin(fetching, request(web.url, file_format="catmaid", dataset=size))
    fetch(fetching)
    assert errors(fetching, job) == []
    assert state(fetching, job) == "COMPLETE"
    body = fetching.read(
        f"/v1/projects/tk/channels/em/cutout?x=0:1100&y=0:1030&z={OFFSET}:{OFFSET + 2}&format=raw"
    )
    assert np.array_equal(np.frombuffer(body, np.uint8).reshape(planes.shape), planes)


def test_of_coloured_tiles_the_first_band_is_taken(fetching: Server, web: Web):
    colours = np.full((HEIGHT, WIDTH), 0xFF030209, np.uint32)
    for z in range(OFFSET, OFFSET + DEPTH):
        folder = web.folder / "em" / str(z) / "0"
        folder.mkdir(parents=True)
        (folder / "0_0.png").write_bytes(encode_png(colours))
    begin(fetching, request(web.url, file_format="CATMAID"))
    fetch(fetching)
    assert (stored(fetching) == 9).all()


def test_colours_are_packed_into_uint32(fetching: Server, web: Web):
    stack = STACK.astype(np.uint32) | 0xFF000000
    web.slices(stack)
    begin(fetching, request(web.url, datatype="uint32"))
    fetch(fetching)
    assert np.array_equal(stored(fetching, dtype=np.uint32), stack)


def test_a_folder_that_the_operator_opened_is_read(tmp_path: Path, web: Web):
    web.slices()
    with serving(tmp_path / "open", ingest_file_roots=f"/nowhere:{web.folder}") as server:
        job = begin(server, request(web.folder.as_uri()))
        fetch(server)
        assert state(server, job) == "COMPLETE"
        assert np.array_equal(stored(server), STACK)


def test_a_bucket_is_read_as_everybody_may_read_it(fetching: Server, web: Web):
    web.slices(under="lab-data/stacks/tk/em")
    files = RemoteFiles(HttpReader([web.host]), s3_url=f"{web.url}/{{bucket}}/{{key}}")
    fetching.runtime.ingest.fetcher.files = files
    begin(fetching, request("s3://lab-data/stacks"))
    fetch(fetching)
    assert np.array_equal(stored(fetching), STACK)


# --- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wishes", "ending"), [({}, "FAILED"), ({"on_bad": "skip"}, "COMPLETE_WITH_ERRORS")]
)
def test_a_slice_that_is_not_there_is_a_fault_and_comes_by_retry(
    fetching: Server, web: Web, wishes: dict[str, str], ending: str
):
    """ndstore stored zeros, and did not report it."""
    web.slices()
    late = web.folder / "tk/em/0007.png"
    body = late.read_bytes()
    late.unlink()
    job = begin(fetching, request(web.url, **wishes))
    fetch(fetching)
    assert state(fetching, job) == ending
    (fault,) = errors(fetching, job)
    assert fault["part"] == 7
    assert "0007.png answers 404" in fault["error"]
    if wishes:
        expected = STACK.copy()
        expected[7 - OFFSET] = 0
        assert np.array_equal(stored(fetching), expected)
    late.write_bytes(body)
    asked = [*web.asked]
    assert fetching.post(f"/v1/ingest/{job}/retry", "alice").status_code == 202
    fetch(fetching)
    assert (state(fetching, job), errors(fetching, job)) == ("COMPLETE", [])
    if wishes:
        assert web.asked == [*asked, "/tk/em/0007.png"]
    assert np.array_equal(stored(fetching), STACK)


def test_a_missing_tile_is_a_missing_slice(fetching: Server, web: Web):
    job = begin(fetching, request(web.url, file_format="CATMAID"))
    fetch(fetching)
    assert state(fetching, job) == "FAILED"
    assert "/em/2/0/0_0.png answers 404" in str(errors(fetching, job))


@pytest.mark.parametrize(("failures", "ending", "asked"), [(3, "COMPLETE", 4), (99, "FAILED", 5)])
def test_a_server_that_fails_is_asked_again_later_five_times(
    fetching: Server,
    web: Web,
    monkeypatch: pytest.MonkeyPatch,
    failures: int,
    ending: str,
    asked: int,
):
    monkeypatch.setattr(fetch_module, "_DELAY_S", 0)
    web.failing = {"/tk/em/0005.png": failures}
    job = ingest(fetching, web)
    assert state(fetching, job) == ending
    assert web.asked.count("/tk/em/0005.png") == asked
    assert ["answers 503" in each["error"] for each in errors(fetching, job)] == (
        [] if ending == "COMPLETE" else [True]
    )
    assert web.asked.count("/tk/em/0006.png") == 1


def test_a_slow_server_holds_no_worker_beyond_its_time(
    fetching: Server, web: Web, monkeypatch: pytest.MonkeyPatch
):
    """The rest is called for again, and while slices come that is no failed attempt.

    Seen to fail when it is one: after five of them the job has failed. And when only the attempts
    go on: each wait is then twice as long as the last.
    """
    queue, tries = fetching.runtime.resources.queues.ingest, set[int]()
    send = queue.send

    def note(bodies: Sequence[str], delay_s: int = 0) -> None:
        tries.update(call.attempt for body in bodies if (call := FetchTask.find(json.loads(body))))
        send(bodies)

    monkeypatch.setattr(queue, "send", note)
    # A worker's time is over with every fourth slice, of whichever slab: so one works at a time.
    monkeypatch.setattr(batch, "_THREADS", 1)
    monkeypatch.setattr(
        fetching.runtime.ingest.fetcher, "_clock", lambda: 1000.0 * (len(web.asked) // 4)
    )
    web.slices()
    job = begin(fetching, request(web.url))
    runtime.install(fetching.runtime)
    pump_once(fetching.runtime.resources.queues.ingest, ingest_build.handler)
    assert 0 < len(web.asked) < DEPTH
    fetch(fetching)
    assert (state(fetching, job), errors(fetching, job)) == ("COMPLETE", [])
    assert sorted(web.asked) == [f"/tk/em/{z:04d}.png" for z in range(OFFSET, OFFSET + DEPTH)]
    assert tries == {1}


def test_a_server_that_is_only_slow_is_given_up(
    fetching: Server, web: Web, monkeypatch: pytest.MonkeyPatch
):
    """Nothing came in five times the time that a worker has."""
    monkeypatch.setattr(fetch_module, "_DELAY_S", 0)
    ticks = count()
    monkeypatch.setattr(fetching.runtime.ingest.fetcher, "_clock", lambda: 1000.0 * next(ticks))
    job = ingest(fetching, web)
    assert (state(fetching, job), web.asked) == ("FAILED", [])
    assert "No time was left" in errors(fetching, job)[0]["error"]


@pytest.mark.parametrize("harm", ["killed", "stumbles"])
def test_slices_over_which_every_worker_dies_are_a_fault_in_the_end(
    fetching: Server, web: Web, monkeypatch: pytest.MonkeyPatch, harm: str
):
    """Messages come back, and are sent again. Seen to fail where deliveries are not counted: they
    are called for without end."""
    web.slices()
    job = begin(fetching, request(web.url))
    read = fetching.runtime.ingest.fetcher.files.read
    deaths = count(1)

    def die(url: str, limit_bytes: int) -> bytes:
        if url.endswith("0007.png"):
            next(deaths)
            raise Crash if harm == "killed" else RecursionError
        return read(url, limit_bytes)

    monkeypatch.setattr(fetching.runtime.ingest.fetcher.files, "read", die)
    minutes = count(1)
    monkeypatch.setattr(fetching.runtime.ingest.jobs.ledger, "_clock", lambda: 60.0 * next(minutes))
    call = FetchTask(job, 1, 0)
    for _ in range(5):
        for delivery in (1, 2, 3, 4, 5):
            with suppress(Crash, RecursionError):
                fetching.runtime.ingest.fetcher.run(call, delivery)
    assert next(deaths) - 1 == {"killed": 13, "stumbles": 7}[harm]
    assert state(fetching, job) == "FAILED"
    (fault,) = errors(fetching, job)
    assert fault["part"] == 7
    assert ("did not finish" if harm == "killed" else "RecursionError") in fault["error"]
    monkeypatch.undo()
    fetching.post(f"/v1/ingest/{job}/retry", "alice")
    fetch(fetching)
    assert state(fetching, job) == "COMPLETE"
    assert np.array_equal(stored(fetching), STACK)


def test_a_huge_file_is_not_read(fetching: Server, web: Web):
    web.slices()
    with (web.folder / "tk/em/0003.png").open("r+b") as file:
        file.truncate(1 << 33)  # of holes
    job = begin(fetching, request(web.url))
    fetch(fetching)
    assert state(fetching, job) == "FAILED"
    assert "longer than" in errors(fetching, job)[0]["error"]


def test_slabs_are_called_for_a_window_at_a_time(
    fetching: Server, web: Web, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fetch_module, "_WINDOW", 1)
    assert state(fetching, ingest(fetching, web)) == "COMPLETE"


def test_lost_calls_are_made_again_by_the_schedule(fetching: Server, web: Web):
    """Seen to fail when the sweep of fetched jobs is left out of ``functions/resend``."""
    web.slices()
    job = begin(fetching, request(web.url))
    while messages := fetching.runtime.resources.queues.ingest.receive():
        fetching.runtime.resources.queues.ingest.ack([message.receipt for message in messages])
    runtime.install(fetching.runtime)
    for _ in range(2):  # at first it is only noted that nothing has come
        assert resend.handler({})["fetched ingests"] == 1
    fetch(fetching)
    assert state(fetching, job) == "COMPLETE"


def test_a_job_whose_last_worker_died_is_closed_by_the_schedule(fetching: Server, web: Web):
    web.slices()
    (web.folder / "tk/em/0007.png").unlink()
    job = begin(fetching, request(web.url, on_bad="zero"))
    close = fetching.runtime.ingest.jobs.registry.close
    fetching.runtime.ingest.jobs.registry.close = lambda job: None
    fetch(fetching)
    assert state(fetching, job) == "INGESTING"
    fetching.runtime.ingest.jobs.registry.close = close
    fetching.runtime.ingest.fetcher.sweep()
    fetch(fetching)
    assert state(fetching, job) == "COMPLETE_WITH_ERRORS"


def test_calls_of_a_cancelled_job_fetch_nothing(fetching: Server, web: Web):
    web.slices()
    job = begin(fetching, request(web.url))
    fetching.call("DELETE", f"/v1/ingest/{job}", "alice")
    fetch(fetching)
    assert web.asked == []
