"""Parts of ingest jobs: where they are sent, in which pages, how large, what is said of them."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3

from functions import ingest_build, s3_drop
from ingest_queue.jobs.chunk_state import Fault
from ndlambda import runtime
from ndlambda.local.pump import pump_once
from ndlambda.stores.ports import Overwrite
from tests.support.app import Server, assert_problem, serving
from tests.support.ingest_world import png

JOBS = "/v1/ingest"
HEIGHT, WIDTH = 200, 300
SLICE = np.full((HEIGHT, WIDTH), 7, np.uint8)
STACK = SLICE[np.newaxis]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as made:
        yield made


def make(server: Server, **wishes: Any) -> Any:
    config = {"token": "open", "channel": "em"} | wishes
    answer = server.post(JOBS, "alice", json=config)
    assert answer.status_code == 201, answer.text
    return answer.get_json()


def put(server: Server, job: str, chunk: int, name: str, body: bytes) -> Any:
    return server.call("PUT", f"{JOBS}/{job}/parts/{chunk}/{name}", "alice", data=body)


def work(server: Server) -> None:
    """Deliver notifications and calls until there are none."""
    runtime.install(server.runtime)
    queues = (
        (server.runtime.drop_queue, s3_drop.handler),
        (server.runtime.ingest_queue, ingest_build.handler),
    )
    while any(pump_once(queue, handler) for queue, handler in queues):
        pass


# --- where they are sent -----------------------------------------------------------------------


def test_uploads_are_given_in_pages_of_whole_chunks(disk: Server):
    job = make(disk)["id"]
    first = disk.get(f"{JOBS}/{job}/credentials?limit=5&suffix=tif", "alice").get_json()
    assert ([each["slice"] for each in first["uploads"]], first["next"]) == ([*range(1, 33)], 0)
    assert first["uploads"][0]["url"] == f"{JOBS}/{job}/parts/0/000001.tif"
    rest = disk.get(f"{JOBS}/{job}/credentials?after=0", "alice").get_json()
    assert ([each["slice"] for each in rest["uploads"]], rest["next"]) == ([*range(33, 41)], None)
    assert disk.get(f"{JOBS}/{job}/credentials?suffix=exe", "alice").status_code == 400


def test_uploaders_share_a_job_by_shards(disk: Server):
    """Each chunk is of one shard, and a shard has its pages."""
    job = make(disk, channel="movie", mode="chunks")["id"]
    whole = disk.get(f"{JOBS}/{job}/missing", "alice").get_json()["missing"]
    for shards in (1, 3, len(whole), 2 * len(whole)):
        shared: list[int] = []
        for shard in range(shards):
            path = f"{JOBS}/{job}/missing?limit=1&shard={shard}/{shards}"
            after: int | None = -1
            while after is not None:
                page = disk.get(f"{path}&after={after}", "alice").get_json()
                shared += page["missing"]
                after = page["next"]
        assert shared == whole
    path = f"{JOBS}/{job}/credentials?shard=1/2"
    uploads = disk.get(path, "alice").get_json()["uploads"]
    assert [each["chunk"] for each in uploads] == whole[len(whole) // 2 :]


@pytest.mark.parametrize("shard", ["", "1", "1/1", "2/1", "0/0", "-1/2", "0/10001", "٠/1", "0/1/2"])
def test_a_shard_that_is_none_is_refused(disk: Server, shard: str):
    job = make(disk)["id"]
    for what in ("missing", "credentials"):
        answer = disk.get(f"{JOBS}/{job}/{what}?shard={shard}", "alice")
        assert_problem(answer, 400, "InvalidArgumentError")


def test_an_address_is_good_for_one_part_of_one_job(tmp_path: Path, moto_server: Any):
    """Its signature is over the key: another job's part is another address."""
    with serving(tmp_path, moto_server.endpoint) as server:
        mine, other = make(server)["id"], make(server, channel="em2")["id"]
        answer = server.get(f"{JOBS}/{mine}/credentials?limit=1", "alice")
        assert answer.headers["Cache-Control"] == "no-store"
        first, second = answer.get_json()["uploads"][:2]
        assert f"/drop/j/{mine}/000000000000/000001.png?" in first["url"]
        assert other not in first["url"]
        signatures = [each["url"].partition("Signature=")[2] for each in (first, second)]
        assert signatures[0] != signatures[1]
        again = server.get(f"{JOBS}/{mine}/credentials?limit=1", "alice").get_json()["uploads"][0]
        assert urllib3.request("PUT", again["url"], body=png(SLICE)).status == 200
        work(server)
        left = server.get(f"{JOBS}/{mine}/credentials", "alice").get_json()["uploads"]
        assert [each["slice"] for each in left] == list(range(2, 41))


def test_addresses_are_given_for_what_is_no_use_too(disk: Server):
    """Seen to fail where only what is missing gets some: a mended file had no way past Lambda."""
    job = make(disk, extent={"z": [1, 41]}, on_bad="zero")["id"]
    for z in range(1, 41):
        put(disk, job, (z - 1) // 32, f"{z}.png", b"no image" if z in {3, 35} else png(SLICE))
    work(disk)
    assert disk.get(f"{JOBS}/{job}", "alice").get_json()["state"] == "COMPLETE_WITH_ERRORS"
    assert disk.get(f"{JOBS}/{job}/missing", "alice").get_json()["missing"] == []
    pages = [
        disk.get(f"{JOBS}/{job}/credentials?suffix=tif&{query}", "alice").get_json()["uploads"]
        for query in ("", "after=0", "after=1", "shard=0/2")
    ]
    slices = [[each["slice"] for each in page] for page in pages]
    assert slices == [[3, 35], [35], [], [3]]
    assert pages[0][0]["url"] == f"{JOBS}/{job}/parts/0/000003.tif"


# --- what is taken -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunk", "name", "status"),
    [
        (0, "0033.png", 400),
        (1, "0001.png", 400),
        (2, "0001.png", 400),
        (0, "0001.exe", 400),
        (0, "0001", 400),
        (0, "one.png", 400),
        (0, "data.npy", 400),
        (0, "..png", 400),
    ],
)
def test_what_is_no_part_of_the_job_is_not_stored(disk: Server, chunk: int, name: str, status: int):
    job = make(disk)["id"]
    with disk.unchanged():
        assert put(disk, job, chunk, name, png(STACK[0])).status_code == status
    assert not (disk.settings.data / "drop").exists()


def test_a_part_longer_than_any_image_of_its_size_is_refused_unread(disk: Server):
    job = make(disk)["id"]
    body = bytes(2 * WIDTH * HEIGHT + (4 << 20) + 1)
    answer = put(disk, job, 0, "0001.png", body)
    assert_problem(answer, 413, "PayloadTooLargeError")
    assert not (disk.settings.data / "drop").exists()


def test_a_part_is_taken_where_it_stands_in_for_the_store(tmp_path: Path):
    """Lambda carries no more than 4 MiB; the address that the server gives takes all.

    Seen to fail where the route has the limit of others: 413.
    """
    with serving(tmp_path, lambda_limits=True) as server:
        job = make(server)["id"]
        body = png(SLICE) + bytes(5 << 20)
        answer = put(server, job, 0, "0001.png", body)
        assert_problem(answer, 413, "PayloadTooLargeError")
        assert answer.get_json()["limit"] == 2 * SLICE.nbytes + (4 << 20), "for its own size"
        assert put(server, job, 0, "0001.png", body[: (4 << 20) + 1000]).status_code == 201


def test_a_slice_has_one_name_in_the_store_however_it_is_called(disk: Server):
    job = make(disk)["id"]
    for name in ("1.PNG", "0001.png", "000001.png"):
        answer = put(disk, job, 0, name, png(STACK[0]))
        assert answer.get_json()["key"] == f"drop/j/{job}/{0:012x}/000001.png"


def test_what_went_past_the_server_is_measured_before_it_is_read(
    disk: Server, monkeypatch: pytest.MonkeyPatch
):
    """Who has an address may put gigabytes; of these no more than an image has are read.

    Seen to fail when the whole object is read: its length arrives.
    """
    job = make(disk, extent={"z": [1, 2]})["id"]
    limit = 2 * SLICE.nbytes + (4 << 20)
    drop, asked = disk.runtime.ingest.stores.drop, []
    key = f"drop/j/{job}/{0:012x}/000001.png"
    drop.put(key, png(SLICE) + bytes(limit), Overwrite())
    get = type(drop).get

    def read(self: Any, key: str, byte_range: Any = None, **more: Any) -> Any:
        asked.append(byte_range)
        return get(self, key, byte_range, **more)

    monkeypatch.setattr(type(drop), "get", read)
    disk.runtime.drop.on_object_created(key)
    work(disk)
    shown = disk.get(f"{JOBS}/{job}", "alice").get_json()
    assert (shown["state"], shown["faults"]) == ("FAILED", 1)
    assert "more than any file of this size" in shown["reason"]
    assert None not in asked
    assert put(disk, job, 0, "0001.png", png(SLICE)).status_code == 201
    disk.runtime.ingest.sweeper.sweep_all()
    work(disk)
    assert disk.get(f"{JOBS}/{job}", "alice").get_json()["state"] == "COMPLETE"


# --- what is said of them ----------------------------------------------------------------------


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_of_the_list_of_faults_is_a_formula(disk: Server, start: str):
    """Names of files are other people's. Seen to fail when cells are written as they are."""
    job = disk.runtime.ingest.ledger.get(make(disk)["id"])
    formula = f'{start}HYPERLINK("http://evil.example","x")'
    disk.runtime.ingest.ledger.add_fault(job, Fault(0, 1, formula, formula))
    text = disk.get(f"{JOBS}/{job.id}/errors", "alice").data.decode()
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["key"], row["error"]) == (f"'{formula}", f"'{formula}")
    (plain,) = disk.get(
        f"{JOBS}/{job.id}/errors", "alice", headers={"Accept": "application/json"}
    ).get_json()["errors"]
    assert plain["error"] == formula
