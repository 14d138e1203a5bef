"""autoIngest: volumes that are described over HTTP and fetched from a server, or a folder."""

import json
from contextlib import suppress
from itertools import count

import numpy as np
import pytest

from functions import batch, ingest_build
from ingest_queue.fetch import worker as fetch_module
from ingest_queue.fetch.http_reader import HttpReader
from ingest_queue.fetch.remote import RemoteFiles
from ingest_queue.fetch.worker import FetchTask
from ingest_queue.images.tiles import encode_png
from ndlambda import runtime
from ndlambda.local.pump import pump_once
from tests.support import auto_ingest as auto
from tests.support.app import serving
from tests.support.auto_ingest import DEPTH, HEIGHT, OFFSET, STACK, SUCCESS, WIDTH
from tests.support.faults import Crash
from tests.support.http_jobs import work
from tests.support.ingest_world import look_after_all

ADDRESSES = [f"/tk/em/{z:04d}.png" for z in range(OFFSET, OFFSET + DEPTH)]
BAD = "/tk/em/0007.png"


def put_tiles(web, z, tiles):
    folder = web.folder / "em" / f"{z}" / "0"
    folder.mkdir(parents=True)
    for (row, column), tile in tiles.items():
        (folder / f"{row}_{column}.png").write_bytes(encode_png(tile))


def remove_slice(web):
    web.slices()
    path = web.folder / BAD[1:]
    body = path.read_bytes()
    path.unlink()
    return path, body


def begin(server, web, **wishes):
    return auto.begin(server, auto.request(web.url, **wishes))


def retry(server, job):
    assert server.post(f"/v1/ingest/{job}/retry", "alice").status_code == 202


def test_a_volume_is_described_fetched_and_served(fetching, web):
    web.slices()
    answer = auto.post(fetching, auto.request(web.url + "/"), path="/ocp/ca/json/")
    assert (answer.status_code, answer.get_json()) == (200, SUCCESS)
    (job,) = fetching.get("/v1/ingest", "alice").get_json()["jobs"]
    auto.fetch_to(fetching, job["id"], "COMPLETE")
    assert sorted(web.asked) == ADDRESSES
    info = fetching.get("/sd/tk/info/").get_json()
    assert info["dataset"]["offset"]["0"] == [0, 0, OFFSET]


@pytest.mark.parametrize("wishes", [{"timerange": [1, 3]}, {"dataset": {"timerange": [1, 3]}}])
def test_time_points_have_folders(fetching, web, wishes):
    """ndstore had one address for all of them; ndio says the range with the dataset."""
    for t in (1, 2):
        web.slices(STACK + np.uint8(t), f"tk/em/time{t:04d}")
    doc = auto.request(web.url, channel_type="timeseries", **wishes)
    assert auto.post(fetching, doc, path="/nd/ca/autoIngest").status_code == 200
    made = fetching.runtime.catalog.get_channel("pj", "em")
    assert (made.starttime, made.endtime) == (1, 3)
    work(fetching)
    for t in (1, 2):
        assert np.array_equal(auto.stored(fetching, f"&t={t}:{t + 1}"), STACK + np.uint8(t))


def test_catmaid_tiles_are_put_together(fetching, web):
    """Tiles of 1024 pixels; those at the edges are short, and one reaches over."""
    planes = np.random.default_rng(1).integers(1, 255, (2, 1030, 1100)).astype(np.uint8)
    for z, plane in enumerate(planes, OFFSET):
        tiles = {
            (row, column): plane[row * 1024 :, column * 1024 :][:1024, :1024]
            for row, column in np.ndindex(2, 2)
        }
        over = np.zeros((1024, 1024), np.uint8)
        over[:6, :76] = tiles[1, 1]
        put_tiles(web, z, tiles | {(1, 1): over})
    size = {"imagesize": [1100, 1030, 2], "scalinglevels": 1}
    job = begin(fetching, web, file_format="catmaid", dataset=size)
    auto.fetch_to(fetching, job, "COMPLETE", None)
    box = f"x=0:1100&y=0:1030&z={OFFSET}:{OFFSET + 2}&format=raw"
    body = fetching.read(f"/v1/projects/tk/channels/em/cutout?{box}")
    assert np.array_equal(np.frombuffer(body, np.uint8).reshape(planes.shape), planes)


def test_of_coloured_tiles_the_first_band_is_taken(fetching, web):
    for z in range(OFFSET, OFFSET + DEPTH):
        put_tiles(web, z, {(0, 0): np.full((HEIGHT, WIDTH), 0xFF030209, np.uint32)})
    begin(fetching, web, file_format="CATMAID")
    work(fetching)
    assert (auto.stored(fetching) == 9).all()


def test_colours_are_packed_into_uint32(fetching, web):
    stack = STACK.astype(np.uint32) | 0xFF000000
    web.slices(stack)
    auto.fetch_to(fetching, begin(fetching, web, datatype="uint32"), "COMPLETE", stack)


def test_a_folder_that_the_operator_opened_is_read(tmp_path, web):
    web.slices()
    with serving(tmp_path / "open", ingest_file_roots=f"/nowhere:{web.folder}") as server:
        job = auto.begin(server, auto.request(web.folder.as_uri()))
        auto.fetch_to(server, job, "COMPLETE")


def test_a_bucket_is_read_as_everybody_may_read_it(fetching, web):
    web.slices(under="lab-data/stacks/tk/em")
    files = RemoteFiles(HttpReader([web.host]), s3_url=f"{web.url}/{{bucket}}/{{key}}")
    fetching.runtime.ingest.fetcher.files = files
    job = auto.begin(fetching, auto.request("s3://lab-data/stacks"))
    auto.fetch_to(fetching, job, "COMPLETE")


@pytest.mark.parametrize(
    ("wishes", "ending"), [({}, "FAILED"), ({"on_bad": "skip"}, "COMPLETE_WITH_ERRORS")]
)
def test_a_slice_that_is_not_there_is_a_fault_and_comes_by_retry(fetching, web, wishes, ending):
    """ndstore stored zeros, and did not report it."""
    late, body = remove_slice(web)
    job = begin(fetching, web, **wishes)
    without = STACK.copy()
    without[7 - OFFSET] = 0
    auto.fetch_to(fetching, job, ending, without if wishes else None)
    (fault,) = auto.errors(fetching, job)
    assert fault["part"] == 7
    assert "0007.png answers 404" in fault["error"]
    late.write_bytes(body)
    asked = [*web.asked]
    retry(fetching, job)
    auto.fetch_to(fetching, job, "COMPLETE")
    assert not wishes or web.asked == [*asked, BAD]


def test_a_missing_tile_is_a_missing_slice(fetching, web):
    job = begin(fetching, web, file_format="CATMAID")
    auto.fetch_to(fetching, job, "FAILED", None)
    assert "/em/2/0/0_0.png answers 404" in str(auto.errors(fetching, job))


@pytest.mark.parametrize(("failures", "ending", "asked"), [(3, "COMPLETE", 4), (99, "FAILED", 5)])
def test_a_server_that_fails_is_asked_again_later_five_times(
    fetching, web, monkeypatch, failures, ending, asked
):
    monkeypatch.setattr(fetch_module, "_DELAY_S", 0)
    web.failing = {BAD: failures}
    job = auto.ingest(fetching, web)
    assert auto.state(fetching, job) == ending
    assert (web.asked.count(BAD), web.asked.count("/tk/em/0006.png")) == (asked, 1)
    told = ["answers 503" in each["error"] for each in auto.errors(fetching, job)]
    assert told == ([] if ending == "COMPLETE" else [True])


def test_a_slow_server_holds_no_worker_beyond_its_time(fetching, web, monkeypatch):
    """Seen to fail when a try in which slices came counts as failed, or doubles the next wait."""
    queue, tries = fetching.runtime.resources.queues.ingest, set()
    send = queue.send

    def note(bodies, delay_s=0):
        tries.update(call.attempt for body in bodies if (call := FetchTask.find(json.loads(body))))
        send(bodies)

    monkeypatch.setattr(queue, "send", note)
    # A worker's time is over with every fourth slice, of whichever slab: so one works at a time.
    monkeypatch.setattr(batch, "_THREADS", 1)
    monkeypatch.setattr(
        fetching.runtime.ingest.fetcher, "_clock", lambda: 1000.0 * (len(web.asked) // 4)
    )
    web.slices()
    job = begin(fetching, web)
    runtime.install(fetching.runtime)
    pump_once(queue, ingest_build.handler)
    assert 0 < len(web.asked) < DEPTH
    auto.fetch_to(fetching, job, "COMPLETE")
    assert (sorted(web.asked), tries) == (ADDRESSES, {1})


def test_a_server_that_is_only_slow_is_given_up(fetching, web, monkeypatch):
    """Nothing came in five times the time that a worker has."""
    monkeypatch.setattr(fetch_module, "_DELAY_S", 0)
    ticks = count()
    monkeypatch.setattr(fetching.runtime.ingest.fetcher, "_clock", lambda: 1000.0 * next(ticks))
    job = auto.ingest(fetching, web)
    assert (auto.state(fetching, job), web.asked) == ("FAILED", [])
    assert "No time was left" in auto.errors(fetching, job)[0]["error"]


@pytest.mark.parametrize(
    ("harm", "tries", "told"),
    [(Crash, 13, "did not finish"), (RecursionError, 5, "RecursionError")],
    ids=["killed", "stumbles"],
)
def test_slices_over_which_every_worker_dies_are_a_fault_in_the_end(
    fetching, web, monkeypatch, harm, tries, told
):
    """Seen to fail where deliveries are not counted: they are called for without end."""
    web.slices()
    job = begin(fetching, web)
    fetcher, deaths, minutes = fetching.runtime.ingest.fetcher, count(1), count(1)
    read = fetcher.files.read

    def die(url, limit_bytes):
        if url.endswith("0007.png"):
            next(deaths)
            raise harm
        return read(url, limit_bytes)

    monkeypatch.setattr(fetcher.files, "read", die)
    monkeypatch.setattr(fetching.runtime.ingest.jobs.ledger, "_clock", lambda: 60.0 * next(minutes))
    for delivery in 5 * [1, 2, 3, 4, 5]:
        with suppress(harm):
            fetcher.run(FetchTask(job, 1, 0), delivery)
    assert next(deaths) - 1 == tries
    assert auto.state(fetching, job) == "FAILED"
    (fault,) = auto.errors(fetching, job)
    assert fault["part"] == 7
    assert told in fault["error"]
    monkeypatch.undo()
    retry(fetching, job)
    auto.fetch_to(fetching, job, "COMPLETE")


def test_a_huge_file_is_not_read(fetching, web):
    web.slices()
    with (web.folder / BAD[1:]).open("r+b") as file:
        file.truncate(1 << 33)  # of holes
    job = begin(fetching, web)
    auto.fetch_to(fetching, job, "FAILED", None)
    assert "longer than" in auto.errors(fetching, job)[0]["error"]


def test_slabs_are_called_for_a_window_at_a_time(fetching, web, monkeypatch):
    monkeypatch.setattr(fetch_module, "_WINDOW", 1)
    assert auto.state(fetching, auto.ingest(fetching, web)) == "COMPLETE"


def test_lost_calls_are_made_again_by_the_schedule(fetching, web):
    """Seen to fail when the fetcher adds no step to the looks after jobs."""
    web.slices()
    job = begin(fetching, web)
    queue = fetching.runtime.resources.queues.ingest
    while messages := queue.receive():
        queue.ack([message.receipt for message in messages])
    runtime.install(fetching.runtime)
    for _ in range(2):  # at first it is only noted that nothing has come
        look_after_all(fetching.runtime.ingest.jobs)
    auto.fetch_to(fetching, job, "COMPLETE")


def test_a_job_whose_last_worker_died_is_closed_by_the_schedule(fetching, web, monkeypatch):
    remove_slice(web)
    job = begin(fetching, web, on_bad="zero")
    monkeypatch.setattr(fetching.runtime.ingest.jobs.registry, "close", lambda job: None)
    auto.fetch_to(fetching, job, "INGESTING", None)
    monkeypatch.undo()
    look_after_all(fetching.runtime.ingest.jobs)
    auto.fetch_to(fetching, job, "COMPLETE_WITH_ERRORS", None)


def test_calls_of_a_cancelled_job_fetch_nothing(fetching, web):
    web.slices()
    job = begin(fetching, web)
    fetching.call("DELETE", f"/v1/ingest/{job}", "alice")
    work(fetching)
    assert web.asked == []
