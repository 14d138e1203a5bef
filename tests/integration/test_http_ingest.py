"""Ingest jobs over HTTP: made, fed, looked after, cancelled; on files and on moto."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3
from numpy.typing import NDArray

from functions import ingest_build, s3_drop
from ndlambda import runtime
from ndlambda.local.pump import pump_once
from ndlambda.model.catalog import Token
from tests.support import bodies
from tests.support.app import V1, Server, assert_problem, serving
from tests.support.ingest_configs import client_config
from tests.support.ingest_world import png

JOBS = "/v1/ingest"
DEPTH, HEIGHT, WIDTH = 40, 200, 300
FIRST = 1
STACK = np.random.default_rng(11).integers(1, 255, (DEPTH, HEIGHT, WIDTH)).astype(np.uint8)
SLICES = {"token": "open", "channel": "em"}
CLIENT = client_config()


@pytest.fixture
def server(tmp_path: Path, endpoint: str | None) -> Iterator[Server]:
    with serving(tmp_path, endpoint) as made:
        yield made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as made:
        yield made


def make(server: Server, config: dict[str, Any] = SLICES, user: str = "alice", **more: Any) -> Any:
    answer = server.post(JOBS, user, json=config, **more)
    assert answer.status_code == 201, answer.text
    return answer.get_json()


def show(server: Server, job: str, root: str = JOBS) -> Any:
    answer = server.get(f"{root}/{job}", "alice")
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def put(server: Server, job: str, chunk: int, name: str, body: bytes, user: str = "alice") -> Any:
    return server.call("PUT", f"{JOBS}/{job}/parts/{chunk}/{name}", user, data=body)


def put_slice(server: Server, job: str, z: int, body: bytes | None = None) -> None:
    chunk = 0 if z < 32 + FIRST else 1
    answer = put(server, job, chunk, f"{z}.png", png(STACK[z - FIRST]) if body is None else body)
    assert answer.status_code == 201, answer.text


def work(server: Server) -> None:
    """Deliver notifications and calls until there are none."""
    runtime.install(server.runtime)
    queues = (
        (server.runtime.drop_queue, s3_drop.handler),
        (server.runtime.ingest_queue, ingest_build.handler),
    )
    while any(pump_once(queue, handler) for queue, handler in queues):
        pass


def sweep(server: Server) -> None:
    """Do what the schedule does each minute: calls of chunks went by while their job had failed."""
    server.runtime.ingest.sweeper.sweep_all()
    work(server)


def stored(server: Server) -> NDArray[np.uint8]:
    box = "x=8:308&y=4:204&z=1:41&format=raw"
    body = server.read(f"{V1}/open/channels/em/cutout?{box}")
    return np.frombuffer(body, np.uint8).reshape(STACK.shape)


# --- a job from its beginning to its end -------------------------------------------------------


def test_a_job_is_made_fed_with_slices_and_served(disk: Server):
    job = make(disk)
    assert (job["state"], job["mode"], job["on_bad"]) == ("CREATED", "slices", "fail")
    assert job["extent"] == {"x": [8, 308], "y": [4, 204], "z": [1, 41], "t": [0, 1]}
    assert job["chunks"] == {"total": 2, "done": 0, "partial": 0}
    assert job["parts"] == {"expected": 40, "seen": 0}
    assert job["first_missing"] == {"t": 0, "slice": 1}
    for z in range(FIRST, FIRST + DEPTH - 1):
        put_slice(disk, job["id"], z)
    work(disk)
    half = show(disk, job["id"])
    assert (half["state"], half["chunks"]) == (
        "INGESTING",
        {"total": 2, "done": 1, "partial": 1},
    )
    assert half["first_missing"] == {"t": 0, "slice": 40}
    put_slice(disk, job["id"], 40)
    work(disk)
    done = show(disk, job["id"])
    assert (done["state"], done["first_missing"], done["faults"]) == ("COMPLETE", None, 0)
    assert done["bytes"] == {"stored": STACK.nbytes}
    assert len(done["digest"]) == 40
    assert np.array_equal(stored(disk), STACK)


def test_the_addresses_that_are_given_take_what_is_missing(server: Server):
    """On AWS they are of the bucket, which tells the queue; on a laptop of the server itself."""
    job = make(server, SLICES | {"mode": "chunks"})["id"]
    target = server.runtime.ingest.target(server.runtime.ingest.ledger.get(job))
    grid = target.grid(server.runtime.ingest.ledger.get(job))
    answer = server.get(f"{JOBS}/{job}/credentials?suffix=npy", "alice").get_json()
    assert (len(answer["uploads"]), answer["next"]) == (grid.count, None)
    for upload in answer["uploads"]:
        box = grid.chunk(upload["chunk"]).box
        body = bodies.npy(np.ascontiguousarray(STACK[box.slices_zyx((0, 0, 0))]))
        if upload["with_key"]:
            sent = server.call(upload["method"], upload["url"], "alice", data=body)
            assert sent.status_code == 201, sent.text
        else:
            assert urllib3.request(upload["method"], upload["url"], body=body).status == 200
    work(server)
    assert show(server, job)["state"] == "COMPLETE"
    assert np.array_equal(stored(server), STACK)


# --- making jobs -------------------------------------------------------------------------------


def test_one_idempotency_key_makes_one_job(disk: Server):
    key = {"Idempotency-Key": "of this morning"}
    first, again = (make(disk, headers=key)["id"] for _ in range(2))
    assert first == again
    other = disk.post(JOBS, "alice", json=SLICES | {"on_bad": "zero"}, headers=key)
    assert_problem(other, 409, "AlreadyExistsError")
    assert make(disk, user="admin", headers=key)["id"] != first
    assert make(disk)["id"] != first
    long = disk.post(JOBS, "alice", json=SLICES, headers={"Idempotency-Key": "k" * 256})
    assert_problem(long, 400, "InvalidArgumentError")


def test_a_caller_may_choose_the_id(disk: Server):
    wanted = {**SLICES, "id": "00112233445566aa"}
    assert make(disk, wanted)["id"] == make(disk, wanted)["id"] == "00112233445566aa"
    taken = disk.post(JOBS, "admin", json=wanted)
    assert_problem(taken, 409, "AlreadyExistsError")


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"token": "nowhere"}, 403, "PermissionDeniedError"),
        ({"channel": "nowhere"}, 404, "ChannelNotFoundError"),
        ({"channel": "frozen"}, 403, "ReadOnlyChannelError"),
        ({"resolution": 9}, 404, "ResolutionNotFoundError"),
        ({"resolution": "x", "mode": "y", "size": 3}, 422, "ValidationError"),
        ({"extent": {"w": [1, 2]}}, 422, "ValidationError"),
        ({"extent": {"x": [5, 5]}}, 422, "ValidationError"),
        ({"extent": {"x": [0, 300]}}, 400, "OutOfBoundsError"),
        ({"extent": {"t": [0, 2]}}, 400, "OutOfBoundsError"),
        ({"id": "../../../table"}, 422, "ValidationError"),
    ],
)
def test_a_job_that_cannot_be_is_refused(
    disk: Server, change: dict[str, Any], status: int, error: str
):
    with disk.unchanged():
        answer = disk.post(JOBS, "alice", json=SLICES | change)
        assert_problem(answer, status, error)
        legacy = disk.post("/ingest/", "alice", json=SLICES | change)
        assert_problem(legacy, 400, error)


def test_all_that_is_wrong_is_said_at_once(disk: Server):
    answer = disk.post(JOBS, "alice", json={"channel": 3, "on_bad": "shrug", "more": 1})
    named = {each["field"] for each in assert_problem(answer, 422, "ValidationError")["errors"]}
    assert named == {"token", "channel", "on_bad", "more"}


def test_quotas_are_enforced(tmp_path: Path):
    with serving(tmp_path, max_ingest_user_jobs=1) as server:
        make(server)
        answer = server.post(JOBS, "alice", json=SLICES)
        assert_problem(answer, 429, "QuotaExceededError")


# --- looking -----------------------------------------------------------------------------------


def test_the_list_has_the_callers_jobs_newest_first(disk: Server):
    made = [make(disk)["id"] for _ in range(3)]
    make(disk, user="admin")
    listed = disk.get(JOBS, "alice").get_json()["jobs"]
    assert {job["id"] for job in listed} == set(made)
    assert [job["created_at"] for job in listed] == sorted(
        (job["created_at"] for job in listed), reverse=True
    )
    assert listed[0]["chunks"] == {"total": 2, "done": 0}
    assert len(disk.get(f"{JOBS}?limit=2", "alice").get_json()["jobs"]) == 2
    assert disk.get(JOBS, "bob").get_json() == {"jobs": []}
    assert disk.get("/ingest/", "bob").get_json() == {"ingest_jobs": []}


def test_folders_that_are_no_jobs_are_shown_to_the_owner_of_what_is_dropped(disk: Server):
    """The owner is ``admin`` where nothing else is set."""
    disk.runtime.drop.waiting.record("drop/tk/em/", "It has no slices.")
    (waiting,) = disk.get("/v1/drop", "admin").get_json()["waiting"]
    assert (waiting["folder"], waiting["why"]) == ("drop/tk/em/", "It has no slices.")
    assert disk.get("/v1/drop", "alice").get_json() == {"waiting": []}
    assert disk.get("/v1/drop", None).status_code == 401


def test_the_old_route_has_the_old_fields_beside_ours(disk: Server):
    answer = disk.post("/ingest/", "alice", json=CLIENT)
    assert answer.status_code == 201
    job = disk.get(f"/ingest/{answer.get_json()['id']}/", "alice").get_json()
    old = {
        "status": 1,
        "end_date": None,
        "resolution": 0,
        "file_type": "",
        "dataset": "brain",
        "project": "pr",
        "channel": "em",
        "user": disk.owner,
        "x_start": 8,
        "x_stop": 308,
        "y_start": 4,
        "y_stop": 204,
        "z_start": 1,
        "z_stop": 41,
        "t_start": 0,
        "t_stop": 1,
        "tile_size_x": 300,
        "tile_size_y": 200,
        "tile_size_z": 1,
        "tile_size_t": 1,
        "upload_queue": "",
        "ingest_queue": "",
        "cleanup_queue": "",
    }
    assert {name: job[name] for name in old} == old
    assert disk.call("DELETE", f"/ingest/{job['id']}/", "alice").status_code == 204
    assert disk.get(f"/ingest/{job['id']}/", "alice").get_json()["status"] == 3
    assert "status" not in show(disk, job["id"])


def test_what_is_missing_comes_in_pages(disk: Server):
    job = make(disk)["id"]
    for z in (1, 3, 40):
        put_slice(disk, job, z)
    first = disk.get(f"{JOBS}/{job}/missing?limit=1", "alice").get_json()
    assert first["chunks"] == [
        {
            "chunk": 0,
            "t": 0,
            "x": [8, 308],
            "y": [4, 204],
            "z": [1, 33],
            "slices": [[2, 3], [4, 33]],
        }
    ]
    assert (first["missing"], first["next"]) == ([2, *range(4, 33)], 0)
    rest = disk.get(f"{JOBS}/{job}/missing?after=0", "alice").get_json()
    assert (rest["missing"], rest["next"]) == (list(range(33, 40)), None)
    assert disk.get(f"{JOBS}/{job}/missing?after=x", "alice").status_code == 400
    assert disk.get(f"{JOBS}/{job}/missing?limit=0", "alice").status_code == 400


# --- faults ------------------------------------------------------------------------------------


def errors(server: Server, job: str) -> list[dict[str, str]]:
    answer = server.get(f"{JOBS}/{job}/errors", "alice")
    assert answer.content_type == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_a_bad_slice_is_told_of_and_mended(disk: Server):
    job = make(disk)["id"]
    for z in range(FIRST, FIRST + DEPTH):
        put_slice(disk, job, z, png(STACK[z - FIRST])[:200] if z == 7 else None)
    work(disk)
    failed = show(disk, job)
    assert (failed["state"], failed["faults"]) == ("FAILED", 1)
    assert show(disk, job, "/ingest")["status"] == 4
    (line,) = errors(disk, job)
    assert (line["chunk"], line["t"], line["part"]) == ("0", "0", "7")
    assert line["key"].endswith("000007.png")
    wanted = {"Accept": "application/json"}
    listed = disk.get(f"{JOBS}/{job}/errors", "alice", headers=wanted).get_json()["errors"]
    assert [(each["part"], each["error"]) for each in listed] == [(7, line["error"])]
    put_slice(disk, job, 7)
    work(disk)
    sweep(disk)
    assert show(disk, job)["state"] == "COMPLETE"
    assert errors(disk, job) == []
    assert np.array_equal(stored(disk), STACK)


@pytest.mark.parametrize(
    ("policy", "state"),
    [("fail", "FAILED"), ("zero", "COMPLETE_WITH_ERRORS"), ("skip", "COMPLETE_WITH_ERRORS")],
)
def test_a_completed_job_deals_with_what_is_missing(disk: Server, policy: str, state: str):
    job = make(disk, SLICES | {"on_bad": policy})["id"]
    for z in range(FIRST, FIRST + DEPTH):
        if z != 9:
            put_slice(disk, job, z)
    answer = disk.post(f"{JOBS}/{job}/complete", "alice")
    assert (answer.status_code, answer.get_json()["closed"]) == (202, True)
    work(disk)
    assert show(disk, job)["state"] == state
    assert [line["part"] for line in errors(disk, job)] == ["9"]
    put_slice(disk, job, 9)
    work(disk)
    sweep(disk)
    assert show(disk, job)["state"] == "COMPLETE"
    assert np.array_equal(stored(disk), STACK)


def test_a_retry_looks_again(disk: Server):
    job = make(disk)["id"]
    for z in range(FIRST, FIRST + DEPTH):
        put_slice(disk, job, z)
    objects = disk.runtime.ingest.stores.drop
    key = f"drop/j/{job}/{0:012x}/000005.png"
    good = objects.get(key)
    assert good is not None
    path = disk.settings.data / key
    whole = bytes(good.data)
    path.write_bytes(whole[:100])
    work(disk)
    assert show(disk, job)["state"] == "FAILED"
    path.write_bytes(whole)
    answer = disk.post(f"{JOBS}/{job}/retry", "alice")
    assert (answer.status_code, answer.get_json()["state"]) == (202, "INGESTING")
    work(disk)
    assert show(disk, job)["state"] == "COMPLETE"


# --- cancelling --------------------------------------------------------------------------------


def test_a_cancelled_job_takes_nothing(disk: Server):
    job = make(disk)["id"]
    put_slice(disk, job, 1)
    for _ in range(2):
        assert disk.call("DELETE", f"{JOBS}/{job}", "alice").status_code == 204
    assert show(disk, job)["state"] == "CANCELLED"
    assert_problem(put(disk, job, 0, "2.png", png(STACK[1])), 409, "InvalidStateError")
    for action in ("retry", "complete"):
        assert_problem(disk.post(f"{JOBS}/{job}/{action}", "alice"), 409, "InvalidStateError")
        legacy = disk.post(f"/ingest/{job}/{action}/", "alice")
        assert_problem(legacy, 400, "InvalidStateError")
    assert disk.get(f"{JOBS}/{job}/credentials", "alice").status_code == 409


def test_a_complete_job_cannot_be_cancelled(disk: Server):
    job = make(disk)["id"]
    for z in range(FIRST, FIRST + DEPTH):
        put_slice(disk, job, z)
    work(disk)
    answer = disk.call("DELETE", f"{JOBS}/{job}", "alice")
    assert_problem(answer, 409, "InvalidStateError")
    assert_problem(put(disk, job, 0, "1.png", png(STACK[1])), 409, "InvalidStateError")


def test_a_job_outlives_its_channel(disk: Server):
    job = make(disk)["id"]
    disk.runtime.catalog.delete_channel("pr", "em")
    assert show(disk, job)["extent"] is None
    assert [each["id"] for each in disk.get(JOBS, "alice").get_json()["jobs"]] == [job]
    assert_problem(put(disk, job, 0, "1.png", b""), 409, "InvalidStateError")
    assert_problem(disk.get(f"{JOBS}/{job}/missing", "alice"), 409, "InvalidStateError")


# --- whose jobs --------------------------------------------------------------------------------


def test_another_users_job_and_none_look_alike(disk: Server):
    job = make(disk)["id"]
    unknown = "0" * 16
    for method, rest in (
        ("GET", ""),
        ("DELETE", ""),
        ("GET", "/missing"),
        ("GET", "/credentials"),
        ("GET", "/errors"),
        ("POST", "/retry"),
        ("POST", "/complete"),
        ("PUT", "/parts/0/0001.png"),
    ):
        with disk.unchanged():
            for user in ("bob", None):
                theirs, none = (
                    disk.call(method, f"{JOBS}/{which}{rest}", user, data=b"")
                    for which in (job, unknown)
                )
                problem = assert_problem(theirs, 404, "NotFoundError")
                assert problem["detail"].replace(job, unknown) == none.get_json()["detail"]
                assert disk.call(method, f"/ingest/{job}{rest}", user, data=b"").status_code == 400
    assert disk.get(f"{JOBS}/{job}", "admin").status_code == 200


def test_only_who_may_write_by_a_token_makes_a_job(disk: Server):
    bobs = disk.runtime.users.get_user("bob").id
    with disk.unchanged():
        assert_problem(disk.post(JOBS, "bob", json=SLICES), 403, "PermissionDeniedError")
        assert_problem(disk.post(JOBS, json=SLICES), 401, "AuthenticationError")
        assert_problem(disk.post("/ingest/", json=SLICES), 400, "AuthenticationError")
        assert_problem(disk.post(JOBS, "bob", json=CLIENT), 404, "ProjectNotFoundError")
        assert_problem(disk.post(JOBS, json=CLIENT), 404, "ProjectNotFoundError")
        elsewhere = CLIENT | {
            "database": {"collection": "none", "experiment": "pr", "channel": "em"}
        }
        assert_problem(disk.post(JOBS, "alice", json=elsewhere), 404, "ProjectNotFoundError")
    disk.runtime.catalog.create_token(Token("bobs", "pr", user_id=bobs))
    job = make(disk, CLIENT, "bob")
    assert job["token"] == "bobs"
    assert disk.get(f"{JOBS}/{job['id']}", "alice").status_code == 404


def test_where_everybody_may_write_nobodys_jobs_are_everybodys(tmp_path: Path):
    with serving(tmp_path, anonymous_write=True) as server:
        job = server.post("/ingest/", json=SLICES)
        assert job.status_code == 201
        assert server.get(f"/ingest/{job.get_json()['id']}/").status_code == 200
        assert len(server.get("/ingest/").get_json()["ingest_jobs"]) == 1
        closed = server.post("/ingest/", json=SLICES | {"token": "closed"})
        assert_problem(closed, 400, "AuthenticationError")
