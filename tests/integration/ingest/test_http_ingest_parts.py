"""Parts of ingest jobs: where they are sent, in which pages, how large, what is said of them."""

import numpy as np
import pytest
import urllib3

from ingest_queue.jobs.chunk_state import Fault
from ndlambda.stores.ports import Overwrite
from tests.support import http_jobs as http
from tests.support.app import assert_problem, serving
from tests.support.http_jobs import JOBS
from tests.support.ingest_world import png

HEIGHT, WIDTH = 200, 300
SLICE = np.full((HEIGHT, WIDTH), 7, np.uint8)
LIMIT_BYTES = 2 * SLICE.nbytes + (4 << 20)  # what a part may have at most


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A server on which tests make jobs, and upload nothing."""
    with serving(tmp_path_factory.mktemp("shared"), max_ingest_user_jobs=0) as made:
        yield made


def ask(server, job, query):
    return server.get(f"{JOBS}/{job}/{query}", "alice").get_json()


def test_uploads_are_given_in_pages_of_whole_chunks(shared):
    job = http.make(shared)["id"]
    first = ask(shared, job, "credentials?limit=5&suffix=tif")
    assert ([each["slice"] for each in first["uploads"]], first["next"]) == ([*range(1, 33)], 0)
    assert first["uploads"][0]["url"] == f"{JOBS}/{job}/parts/0/000001.tif"
    rest = ask(shared, job, "credentials?after=0")
    assert ([each["slice"] for each in rest["uploads"]], rest["next"]) == ([*range(33, 41)], None)
    assert shared.get(f"{JOBS}/{job}/credentials?suffix=exe", "alice").status_code == 400


def test_uploaders_share_a_job_by_shards(shared):
    """Each chunk is of one shard, and a shard has its pages."""
    job = http.make(shared, channel="movie", mode="chunks")["id"]
    whole = ask(shared, job, "missing")["missing"]
    for shards in (1, 3, len(whole), 2 * len(whole)):
        received = []
        for shard in range(shards):
            after = -1
            while after is not None:
                page = ask(shared, job, f"missing?limit=1&shard={shard}/{shards}&after={after}")
                received += page["missing"]
                after = page["next"]
        assert received == whole
    uploads = ask(shared, job, "credentials?shard=1/2")["uploads"]
    assert [each["chunk"] for each in uploads] == whole[len(whole) // 2 :]
    for shard in ("", "1", "1/1", "2/1", "0/0", "-1/2", "0/10001", "٠/1", "0/1/2"):
        for what in ("missing", "credentials"):
            answer = shared.get(f"{JOBS}/{job}/{what}?shard={shard}", "alice")
            assert_problem(answer, 400, "InvalidArgumentError")


def test_an_address_is_good_for_one_part_of_one_job(tmp_path, moto_server):
    """Its signature is over the key: another job's part is another address."""
    with serving(tmp_path, moto_server.endpoint) as server:
        job, other = http.make_few(server), http.make_few(server, channel="em2")
        answer = server.get(f"{JOBS}/{job}/credentials?limit=1", "alice")
        assert answer.headers["Cache-Control"] == "no-store"
        first, second = answer.get_json()["uploads"][:2]
        assert f"/drop/j/{job}/000000000000/000030.png?" in first["url"]
        assert other not in first["url"]
        signatures = [each["url"].partition("Signature=")[2] for each in (first, second)]
        assert signatures[0] != signatures[1]
        assert urllib3.request("PUT", first["url"], body=http.body_of(30)).status == 200
        http.work(server)
        left = ask(server, job, "credentials")["uploads"]
        assert [each["slice"] for each in left] == list(range(31, 36))


def test_addresses_are_given_for_what_is_unusable_too(disk):
    """Seen to fail where only what is missing gets some: a mended file had no way past Lambda."""
    job = http.make_few(disk, on_bad="zero")
    http.put_few(disk, job)
    for z in (31, 34):
        http.put_slice(disk, job, z, b"no image")
    http.work(disk)
    assert http.show(disk, job)["state"] == "COMPLETE_WITH_ERRORS"
    assert ask(disk, job, "missing")["missing"] == []
    pages = [
        ask(disk, job, f"credentials?suffix=tif&{query}")["uploads"]
        for query in ("", "after=0", "after=1", "shard=0/2")
    ]
    slices = [[each["slice"] for each in page] for page in pages]
    assert slices == [[31, 34], [34], [], [31]]
    assert pages[0][0]["url"] == f"{JOBS}/{job}/parts/0/000031.tif"


def test_what_is_no_part_of_the_job_is_not_stored(shared):
    job = http.make(shared)["id"]
    with shared.unchanged():
        for chunk, name in (
            (0, "0033.png"), (1, "0001.png"), (2, "0001.png"), (0, "0001.exe"), (0, "0001"),
            (0, "one.png"), (0, "data.npy"), (0, "..png"),
        ):  # fmt: skip
            assert http.put(shared, job, chunk, name, png(SLICE)).status_code == 400, name
        answer = http.put(shared, job, 0, "0001.png", bytes(LIMIT_BYTES + 1))
        assert_problem(answer, 413, "PayloadTooLargeError")
    assert not (shared.settings.data / "drop").exists()


def test_a_part_is_taken_where_it_stands_in_for_the_store(tmp_path):
    """Above Lambda's 4 MiB. Seen to fail where the route has the limit of others: 413."""
    with serving(tmp_path, lambda_limits=True) as server:
        job = http.make(server)["id"]
        body = png(SLICE) + bytes(5 << 20)
        answer = http.put(server, job, 0, "0001.png", body)
        assert_problem(answer, 413, "PayloadTooLargeError")
        assert answer.get_json()["limit"] == LIMIT_BYTES, "for its own size"
        assert http.put(server, job, 0, "0001.png", body[: (4 << 20) + 1000]).status_code == 201


def test_a_slice_has_one_name_in_the_store_however_it_is_called(disk):
    job = http.make(disk)["id"]
    for name in ("1.PNG", "0001.png", "000001.png"):
        answer = http.put(disk, job, 0, name, png(SLICE))
        assert answer.get_json()["key"] == f"drop/j/{job}/{0:012x}/000001.png"


def test_what_went_past_the_server_is_measured_before_it_is_read(disk, monkeypatch):
    """Seen to fail when the whole object is read: its length arrives."""
    job = http.make(disk, extent={"z": [1, 2]})["id"]
    drop, asked = disk.runtime.ingest.jobs.stores.drop, []
    key = f"drop/j/{job}/{0:012x}/000001.png"
    drop.put(key, png(SLICE) + bytes(LIMIT_BYTES), Overwrite())
    get = drop.get

    def read(key, byte_range=None, **more):
        asked.append(byte_range)
        return get(key, byte_range, **more)

    monkeypatch.setattr(drop, "get", read)
    disk.runtime.ingest.drop.on_object_created(key)
    http.work(disk)
    shown = http.show(disk, job)
    assert (shown["state"], shown["faults"]) == ("FAILED", 1)
    assert "more than any file of this size" in shown["reason"]
    assert None not in asked
    assert http.put(disk, job, 0, "0001.png", png(SLICE)).status_code == 201
    http.sweep(disk)
    assert http.show(disk, job)["state"] == "COMPLETE"


def test_no_cell_of_the_list_of_faults_is_a_formula(shared):
    """Names of files are other people's. Seen to fail when cells are written as they are."""
    for start in ("=", "+", "-", "@", "\t", "\r", "\n"):
        job = shared.runtime.ingest.jobs.ledger.get(http.make(shared)["id"])
        formula = f'{start}HYPERLINK("http://evil.example","x")'
        shared.runtime.ingest.jobs.ledger.add_fault(job, Fault(0, 1, formula, formula))
        (row,) = http.error_lines(shared, job.id)
        assert (row["key"], row["error"]) == (f"'{formula}", f"'{formula}")
        assert [each["error"] for each in http.errors(shared, job.id)] == [formula]
