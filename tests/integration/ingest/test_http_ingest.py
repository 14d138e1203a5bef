"""Ingest jobs over HTTP: made, fed, looked after, cancelled; on files and on moto."""

import numpy as np
import pytest
import urllib3

from ndlambda.model.catalog import Token
from tests.support import bodies
from tests.support import http_jobs as http
from tests.support.app import assert_problem, serving
from tests.support.http_jobs import FIRST, JOBS, SLICES, STACK
from tests.support.ingest_configs import EXTENT, SOURCES, client_config, volumetric_config
from tests.support.ingest_world import png

WHOLE = "x=8:308&y=4:204&z=1:41"
BAD = 31
CLIENT = client_config()
DAMAGED = {"slice": BAD, "error": "plane is damaged"}


@pytest.fixture
def server(tmp_path, endpoint):
    with serving(tmp_path, endpoint) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A server on which tests make jobs that are not fed."""
    with serving(tmp_path_factory.mktemp("shared"), max_ingest_user_jobs=0) as made:
        yield made


def cancel(server, job, root=JOBS):
    return server.call("DELETE", f"{root}/{job}", "alice")


def complete(server, job):
    return server.post(f"{JOBS}/{job}/complete", "alice")


def report(server, job, faults):
    return server.post(f"{JOBS}/{job}/errors", "alice", json={"errors": faults})


def assert_ends(server, job, voxels, box=WHOLE, *, state="COMPLETE"):
    http.work(server)
    assert http.show(server, job)["state"] == state
    assert np.array_equal(http.stored(server, box), voxels)


def test_a_job_is_made_fed_with_slices_and_served(disk):
    job = http.make(disk)
    assert (job["state"], job["mode"], job["on_bad"]) == ("CREATED", "slices", "fail")
    assert job["extent"] == EXTENT
    assert job["chunks"] == {"total": 2, "done": 0, "partial": 0}
    assert job["parts"] == {"expected": 40, "seen": 0}
    assert job["first_missing"] == {"t": 0, "slice": 1}
    for z in range(FIRST, FIRST + 39):
        http.put_slice(disk, job["id"], z, png(STACK[z - FIRST]))
    http.work(disk)
    half = http.show(disk, job["id"])
    assert (half["state"], half["chunks"]) == ("INGESTING", {"total": 2, "done": 1, "partial": 1})
    assert half["first_missing"] == {"t": 0, "slice": 40}
    http.put_slice(disk, job["id"], 40, png(STACK[-1]))
    assert_ends(disk, job["id"], STACK)
    done = http.show(disk, job["id"])
    assert (done["first_missing"], done["faults"]) == (None, 0)
    assert (done["bytes"], len(done["digest"])) == ({"stored": STACK.nbytes}, 40)
    assert_problem(cancel(disk, job["id"]), 409, "InvalidStateError")
    assert_problem(
        http.put(disk, job["id"], 0, "1.png", http.body_of(30)), 409, "InvalidStateError"
    )


def test_the_addresses_that_are_given_take_what_is_missing(server):
    """On AWS they are of the bucket, which tells the queue; on a laptop of the server itself."""
    job = http.make_few(server, mode="chunks")
    boxes = server.get(f"{JOBS}/{job}/missing", "alice").get_json()["chunks"]
    answer = server.get(f"{JOBS}/{job}/credentials?suffix=npy", "alice").get_json()
    assert [each["chunk"] for each in answer["uploads"]] == [box["chunk"] for box in boxes]
    assert answer["next"] is None
    for upload, box in zip(answer["uploads"], boxes, strict=True):
        z0, z1 = box["z"]
        body = bodies.npy(np.ascontiguousarray(http.few()[z0 - 30 : z1 - 30]))
        if upload["with_key"]:
            sent = server.call(upload["method"], upload["url"], "alice", data=body)
            assert sent.status_code == 201, sent.text
        else:
            assert urllib3.request(upload["method"], upload["url"], body=body).status == 200
    http.work(server)
    assert http.show(server, job)["state"] == "COMPLETE"
    assert np.array_equal(http.stored(server), http.few())


def test_one_idempotency_key_makes_one_job(shared):
    key = {"Idempotency-Key": "of this morning"}
    first, again = (http.make(shared, headers=key)["id"] for _ in range(2))
    assert first == again
    other = shared.post(JOBS, "alice", json=SLICES | {"on_bad": "zero"}, headers=key)
    assert_problem(other, 409, "AlreadyExistsError")
    assert first not in {http.make(shared, "admin", headers=key)["id"], http.make(shared)["id"]}
    long = shared.post(JOBS, "alice", json=SLICES, headers={"Idempotency-Key": "k" * 256})
    assert_problem(long, 400, "InvalidArgumentError")


def test_a_caller_may_choose_the_id(shared):
    wanted = "00112233445566aa"
    assert http.make(shared, id=wanted)["id"] == http.make(shared, id=wanted)["id"] == wanted
    taken = shared.post(JOBS, "admin", json=SLICES | {"id": wanted})
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
def test_a_job_that_cannot_be_is_refused(shared, change, status, error):
    with shared.unchanged():
        assert_problem(shared.post(JOBS, "alice", json=SLICES | change), status, error)
        assert_problem(shared.post("/ingest/", "alice", json=SLICES | change), 400, error)


def test_all_that_is_wrong_is_said_at_once(shared):
    answer = shared.post(JOBS, "alice", json={"channel": 3, "on_bad": "shrug", "more": 1})
    named = {each["field"] for each in assert_problem(answer, 422, "ValidationError")["errors"]}
    assert named == {"token", "channel", "on_bad", "more"}


def test_quotas_are_enforced(tmp_path):
    with serving(tmp_path, max_ingest_user_jobs=1) as server:
        http.make(server)
        answer = server.post(JOBS, "alice", json=SLICES)
        assert_problem(answer, 429, "QuotaExceededError")


def configured(server, doc, path=JOBS):
    answer = server.post(path, "alice", json=doc)
    assert answer.status_code == 201, answer.text
    return answer.get_json()


@pytest.mark.parametrize(("source", "words"), [*zip(SOURCES, ("boss", "nd", "boss"), strict=True)])
def test_a_configuration_is_taken_unchanged(shared, source, words):
    job = configured(shared, client_config(source=source, words=words), "/ingest/")
    assert (job["token"] in {"open", "closed"}, job["mode"]) == (True, "slices")
    assert (job["dataset"], job["project"], job["channel"]) == ("brain", "pr", "em")
    assert job["extent"] == EXTENT
    assert (job["x_start"], job["x_stop"], job["tile_size_x"]) == (8, 308, 300)


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        (client_config("2", ingest_type="tile"), "slices"),
        (volumetric_config(), "chunks"),
        # Tiles that are no planes; its predecessor stored them at the wrong place.
        (client_config(tile_size={"x": 100, "y": 200, "z": 1, "t": 1}), "chunks"),
        (client_config(tile_size={"x": 300, "y": 77, "z": 1, "t": 1}), "chunks"),
        (client_config(tile_size={"x": 300, "y": 200, "z": 4, "t": 1}), "chunks"),
        # As its examples have them: of a volume that is smaller.
        (client_config(tile_size={"x": 1024, "y": 1024, "z": 1, "t": 1}), "slices"),
    ],
)
def test_a_configuration_is_of_slices_or_chunks(shared, config, mode):
    job = configured(shared, config)
    assert (job["mode"], job["extent"], job["parts"]["seen"]) == (mode, EXTENT, 0)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"tile_size": {"x": 300, "z": 1, "t": 1}}, "InvalidArgumentError"),
        ({"tile_size": {"x": 0, "y": 200, "z": 1, "t": 1}}, "ValidationError"),
        ({"tile_size": {"x": 300.0, "y": 200, "z": 1, "t": 1}}, "ValidationError"),
        ({"extent": EXTENT | {"z": [1, 42]}}, "OutOfBoundsError"),
        ({"extent": EXTENT | {"x": [8, 2**63]}}, "ValidationError"),
        ({"ingest_type": "volumes"}, "ValidationError"),
        ({"resolution": 7}, "ResolutionNotFoundError"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(shared, change, error):
    with shared.unchanged():
        answer = shared.post("/ingest/", "alice", json=client_config(**change))
        assert_problem(answer, 400, error)


@pytest.mark.parametrize(
    ("config", "tile"),
    [
        (client_config(tile_size={"x": 100, "y": 77, "z": 4, "t": 1}), [100, 77, 4, 1]),
        (client_config(tile_size={"x": 1024, "y": 1024}), [1024, 1024, 1, 1]),
        (volumetric_config(), [512, 512, 64, 1]),  # it names none
    ],
)
def test_a_tile_of_a_configuration_is_told_as_it_was_posted(shared, config, tile):
    made = configured(shared, config, "/ingest/")
    for job in (made, shared.get(f"/ingest/{made['id']}/", "alice").get_json()):
        assert [job[f"tile_size_{axis}"] for axis in "xyzt"] == tile


def test_owners_ingest_into_a_project_without_a_token(tmp_path):
    with serving(tmp_path) as server:
        for token in ("open", "closed"):
            server.runtime.catalog.delete_token(token)
        job = configured(server, CLIENT, "/ingest/")
        assert (job["token"], job["project"], job["channel"]) == ("", "pr", "em")
        assert http.show(server, job["id"], "/ingest")["id"] == job["id"]
        assert configured(server, CLIENT, JOBS)["token"] == ""
        assert server.post("/ingest/", "admin", json=CLIENT).status_code == 201
        for user in ("bob", None):
            answer = server.post("/ingest/", user, json=CLIENT)
            assert_problem(answer, 400, "ProjectNotFoundError")
        elsewhere = client_config()
        elsewhere["database"]["collection"] = "other"
        answer = server.post("/ingest/", "alice", json=elsewhere)
        assert_problem(answer, 400, "ProjectNotFoundError")


@pytest.mark.parametrize("user", ["bob", None])
def test_a_project_that_a_user_may_not_write_and_none_look_alike(shared, user):
    unknown = client_config()
    unknown["database"]["experiment"] = "none"
    answers = [shared.post("/ingest/", user, json=doc) for doc in (CLIENT, unknown)]
    details = [assert_problem(a, 400, "ProjectNotFoundError")["detail"] for a in answers]
    assert details[0].replace("'pr'", "'none'") == details[1]
    assert_problem(shared.post(JOBS, user, json=CLIENT), 404, "ProjectNotFoundError")


def test_the_list_has_the_callers_jobs_newest_first(disk):
    made = [http.make(disk)["id"] for _ in range(3)]
    http.make(disk, "admin")
    listed = disk.get(JOBS, "alice").get_json()["jobs"]
    assert {job["id"] for job in listed} == set(made)
    times = [job["created_at"] for job in listed]
    assert times == sorted(times, reverse=True)
    assert listed[0]["chunks"] == {"total": 2, "done": 0}
    assert len(disk.get(f"{JOBS}?limit=2", "alice").get_json()["jobs"]) == 2
    assert disk.get(JOBS, "bob").get_json() == {"jobs": [], "next": None}
    assert disk.get("/ingest/", "bob").get_json() == {"ingest_jobs": []}


def test_folders_that_are_no_jobs_are_shown_to_the_owner_of_what_is_dropped(shared):
    """The owner is ``admin`` where nothing else is set."""
    shared.runtime.ingest.drop.waiting.record("drop/tk/em/", "It has no slices.")
    (waiting,) = shared.get("/v1/drop", "admin").get_json()["waiting"]
    assert (waiting["folder"], waiting["why"]) == ("drop/tk/em/", "It has no slices.")
    assert shared.get("/v1/drop", "alice").get_json() == {"waiting": [], "deleted": []}


def test_the_old_route_has_the_old_fields_beside_ours(shared):
    job = shared.get(f"/ingest/{configured(shared, CLIENT, '/ingest/')['id']}/", "alice").get_json()
    old = {
        "status": 1, "end_date": None, "resolution": 0, "file_type": "", "dataset": "brain",
        "project": "pr", "channel": "em", "user": shared.owner,
        "x_start": 8, "x_stop": 308, "y_start": 4, "y_stop": 204, "z_start": 1, "z_stop": 41,
        "t_start": 0, "t_stop": 1,
        "tile_size_x": 300, "tile_size_y": 200, "tile_size_z": 1, "tile_size_t": 1,
        "upload_queue": "", "ingest_queue": "", "cleanup_queue": "",
    }  # fmt: skip
    assert {name: job[name] for name in old} == old
    assert cancel(shared, f"{job['id']}/", "/ingest").status_code == 204
    assert shared.get(f"/ingest/{job['id']}/", "alice").get_json()["status"] == 3
    assert "status" not in http.show(shared, job["id"])


def test_what_is_missing_comes_in_pages(shared):
    job = http.make_few(shared)
    for z in (30, 32, 35):
        http.put_slice(shared, job, z)
    first = shared.get(f"{JOBS}/{job}/missing?limit=1", "alice").get_json()
    box = {"x": [8, 40], "y": [4, 36], "z": [30, 33]}
    assert first["chunks"] == [{"chunk": 0, "t": 0, **box, "slices": [[31, 32]]}]
    assert (first["missing"], first["next"]) == ([31], 0)
    rest = shared.get(f"{JOBS}/{job}/missing?after=0", "alice").get_json()
    assert rest["chunks"][0]["slices"] == [[33, 35]]
    assert (rest["missing"], rest["next"]) == ([33, 34], None)
    for query in ("after=x", "limit=0"):
        assert shared.get(f"{JOBS}/{job}/missing?{query}", "alice").status_code == 400


def test_a_bad_slice_is_reported_and_mended(disk):
    job = http.make_few(disk)
    http.put_few(disk, job, without=BAD)
    http.put_slice(disk, job, BAD, http.body_of(BAD)[:200])
    http.work(disk)
    failed = http.show(disk, job)
    assert (failed["state"], failed["faults"]) == ("FAILED", 1)
    assert http.show(disk, job, "/ingest")["status"] == 4
    (line,) = http.error_lines(disk, job)
    assert (line["chunk"], line["t"], line["part"]) == ("0", "0", "31")
    assert line["key"].endswith("000031.png")
    assert [(each["part"], each["error"]) for each in http.errors(disk, job)] == [
        (BAD, line["error"])
    ]
    http.put_slice(disk, job, BAD)
    http.work(disk)
    http.sweep(disk)
    assert (http.show(disk, job)["state"], http.errors(disk, job)) == ("COMPLETE", [])
    assert np.array_equal(http.stored(disk), http.few())


def test_a_completed_job_deals_with_what_is_missing(disk):
    job = http.make_few(disk, on_bad="zero")
    http.put_few(disk, job, without=BAD)
    answer = complete(disk, job)
    assert (answer.status_code, answer.get_json()["closed"]) == (202, True)
    http.work(disk)
    assert http.show(disk, job)["state"] == "COMPLETE_WITH_ERRORS"
    assert [fault["part"] for fault in http.errors(disk, job)] == [BAD]


def few_in_volume():
    voxels = np.zeros_like(STACK)
    voxels[29:35, :32, :32] = http.few()
    return voxels


def test_a_plane_of_boxes_is_reported_once_and_the_job_ends_with_errors(disk):
    job = http.make_few(disk, mode="chunks", on_bad="zero")
    for _ in range(2):
        told = report(disk, job, [DAMAGED])
        assert told.status_code == 204, told.text
    voxels = few_in_volume()
    without = voxels.copy()
    without[BAD - FIRST] = 0
    total = http.put_boxes(disk, job, without)
    assert_ends(disk, job, without, state="COMPLETE_WITH_ERRORS")
    (fault,) = http.errors(disk, job)
    assert fault.items() >= {"t": 0, "part": BAD, "count": 2, "key": ""}.items()
    assert fault["error"] == "plane is damaged"

    again = disk.post(f"{JOBS}/{job}/retry", "alice")
    assert again.get_json()["state"] == "INGESTING"
    assert http.errors(disk, job) == []
    assert http.put_boxes(disk, job, voxels) == total, "all boxes that the plane goes through"
    assert_ends(disk, job, voxels)


def test_what_came_before_a_retry_is_not_stored_in_place_of_what_is_to_come(disk):
    """Was seen to fail (COMPLETE, with zeros) when the boxes stayed in the drop store."""
    job = http.make_few(disk, mode="chunks", on_bad="zero")
    report(disk, job, [DAMAGED])
    total = http.put_boxes(disk, job, np.zeros_like(STACK))  # sent, and not built yet
    disk.post(f"{JOBS}/{job}/retry", "alice")
    http.work(disk)
    http.sweep(disk)
    assert http.show(disk, job)["state"] == "INGESTING"
    assert http.put_boxes(disk, job, few_in_volume()) == total
    assert_ends(disk, job, few_in_volume())


def test_a_slice_that_is_reported_counts_as_missing_under_its_reason(disk):
    job = http.make_few(disk, on_bad="skip")
    report(disk, job, [DAMAGED | {"t": 0}])
    http.put_few(disk, job, without=BAD)
    complete(disk, job)
    http.work(disk)
    assert http.show(disk, job)["state"] == "COMPLETE_WITH_ERRORS"
    (fault,) = http.errors(disk, job)
    assert (fault["part"], fault["error"]) == (BAD, "plane is damaged")
    http.put_slice(disk, job, BAD)
    assert_ends(disk, job, few_in_volume())


@pytest.mark.parametrize("mode", ["slices", "chunks"])
def test_where_the_policy_is_to_fail_the_job_ends(shared, mode):
    job = http.make_few(shared, mode=mode)
    assert report(shared, job, [DAMAGED]).status_code == 204
    shown = http.show(shared, job)
    assert (shown["state"], shown["reason"]) == ("FAILED", "plane is damaged")
    assert_problem(report(shared, job, [DAMAGED]), 409, "InvalidStateError")


@pytest.mark.parametrize("mode", ["slices", "chunks"])
def test_what_is_no_plane_of_the_job_is_refused(shared, mode):
    job = http.make(shared, mode=mode)["id"]
    for faults, status, name in (
        ([{"slice": 0, "error": "x"}], 400, "OutOfBoundsError"),
        ([{"slice": 41, "error": "x"}], 400, "OutOfBoundsError"),
        ([{"slice": 7, "t": 1, "error": "x"}], 400, "OutOfBoundsError"),
        ([], 422, "ValidationError"),
        ("x", 422, "ValidationError"),
        ([{"slice": 7}], 422, "ValidationError"),
        ([{"slice": True, "error": "x"}], 422, "ValidationError"),
        ([{"slice": 7, "error": "x", "more": 1}], 422, "ValidationError"),
        ([{"slice": 7, "error": "x"}] * 1001, 422, "ValidationError"),
    ):
        assert_problem(report(shared, job, faults), status, name)
    assert http.errors(shared, job) == []


def test_a_cancelled_job_takes_nothing(shared):
    job = http.make_few(shared)
    http.put_slice(shared, job, 30)
    for _ in range(2):
        assert cancel(shared, job).status_code == 204
    assert http.show(shared, job)["state"] == "CANCELLED"
    assert_problem(http.put(shared, job, 0, "31.png", http.body_of(31)), 409, "InvalidStateError")
    for action in ("retry", "complete"):
        answer = shared.post(f"{JOBS}/{job}/{action}", "alice")
        assert_problem(answer, 409, "InvalidStateError")
        legacy = shared.post(f"/ingest/{job}/{action}/", "alice")
        assert_problem(legacy, 400, "InvalidStateError")
    assert shared.get(f"{JOBS}/{job}/credentials", "alice").status_code == 409


def test_a_job_outlives_its_channel(disk):
    job = http.make(disk)["id"]
    disk.runtime.catalog.delete_channel("pr", "em")
    assert http.show(disk, job)["extent"] is None
    assert [each["id"] for each in disk.get(JOBS, "alice").get_json()["jobs"]] == [job]
    assert_problem(http.put(disk, job, 0, "1.png", b""), 409, "InvalidStateError")
    assert_problem(disk.get(f"{JOBS}/{job}/missing", "alice"), 409, "InvalidStateError")


def test_another_users_job_and_none_look_alike(shared):
    job, unknown = http.make(shared)["id"], "0" * 16
    for method, rest in (
        ("GET", ""), ("DELETE", ""), ("GET", "/missing"), ("GET", "/credentials"),
        ("GET", "/errors"), ("POST", "/errors"), ("GET", "/verify"), ("POST", "/retry"),
        ("POST", "/complete"), ("PUT", "/parts/0/0001.png"),
    ):  # fmt: skip
        for user in ("bob", None):
            with shared.unchanged():
                theirs, none = (
                    shared.call(method, f"{JOBS}/{which}{rest}", user, data=b"")
                    for which in (job, unknown)
                )
            problem = assert_problem(theirs, 404, "NotFoundError")
            assert problem["detail"].replace(job, unknown) == none.get_json()["detail"]
            if (method, rest) not in {("POST", "/errors"), ("GET", "/verify")}:
                legacy = shared.call(method, f"/ingest/{job}{rest}", user, data=b"")
                assert legacy.status_code == 400
    assert shared.get(f"{JOBS}/{job}", "admin").status_code == 200


def test_only_a_token_that_may_be_written_by_makes_a_job(disk):
    with disk.unchanged():
        assert_problem(disk.post(JOBS, "bob", json=SLICES), 403, "PermissionDeniedError")
        assert_problem(disk.post(JOBS, json=SLICES), 401, "AuthenticationError")
        assert_problem(disk.post("/ingest/", json=SLICES), 400, "AuthenticationError")
        nowhere = CLIENT | {"database": CLIENT["database"] | {"collection": "none"}}
        assert_problem(disk.post(JOBS, "alice", json=nowhere), 404, "ProjectNotFoundError")
    bobs = Token("bobs", "pr", user_id=disk.runtime.users.get_user("bob").id)
    disk.runtime.catalog.create_token(bobs)
    answer = disk.post(JOBS, "bob", json=CLIENT)
    assert (answer.status_code, answer.get_json()["token"]) == (201, "bobs")
    assert disk.get(f"{JOBS}/{answer.get_json()['id']}", "alice").status_code == 404


def test_where_anonymous_users_may_write_their_jobs_are_open_to_all(tmp_path):
    with serving(tmp_path, anonymous_write=True) as server:
        job = server.post("/ingest/", json=SLICES)
        assert job.status_code == 201
        assert server.get(f"/ingest/{job.get_json()['id']}/").status_code == 200
        assert len(server.get("/ingest/").get_json()["ingest_jobs"]) == 1
        closed = server.post("/ingest/", json=SLICES | {"token": "closed"})
        assert_problem(closed, 400, "AuthenticationError")
