"""Jobs of all kinds over HTTP, by the client and by the command."""

import json

import pytest

from functions import erase, ingest_build, propagate
from ndlambda import runtime
from ndlambda.client import connect
from ndlambda.errors import InvalidStateError, NotFoundError
from ndlambda.local.pump import pump_once
from tests.support.app import assert_problem, run_command, serving
from tests.support.fake_server import WsgiTransport

JOBS = "/v1/jobs"


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path, erase_grace_s=0) as made:
        yield made


def work(server):
    runtime.install(server.runtime)
    queues = server.runtime.resources.queues
    workers = ((queues.erase, erase), (queues.propagate, propagate), (queues.ingest, ingest_build))
    while any(pump_once(queue, worker.handler, 1) for queue, worker in workers):
        pass


def listed(server, user="alice", query=""):
    return json.loads(server.read(f"{JOBS}{query}", user))


def begin(server):
    """Begin an ingest, a propagation and a deletion; return their ids."""
    config = {"token": "open", "channel": "em", "extent": {"z": [1, 2]}}
    ingest = server.post("/v1/ingest", "alice", json=config).get_json()["id"]
    assert server.post("/v1/projects/open/channels/em2/propagation", "alice").status_code == 202
    project = server.runtime.catalog.get_project("pr")
    path = f"/v1/datasets/{project.dataset}/projects/pr/channels/movie"
    assert server.call("DELETE", path, "alice").status_code == 204
    return f"ingest-{ingest}"


def by_kind(server, **query):
    return {job["kind"]: job for job in listed(server)["jobs"]}


def test_jobs_of_all_kinds_are_in_one_list(server):
    ingest = begin(server)
    found = by_kind(server)
    assert {kind: job["state"] for kind, job in found.items()} == {
        "ingest": "QUEUED", "propagation": "RUNNING", "deletion": "QUEUED"
    }  # fmt: skip
    assert found["ingest"] == {
        "id": ingest, "kind": "ingest", "token": "open", "channel": "em", "state": "QUEUED",
        "reason": "", "tries": 0, "progress": {"done": 0, "total": 1}, "owner": server.owner,
        "created_at": found["ingest"]["created_at"],
    }  # fmt: skip
    assert found["ingest"]["created_at"].endswith("Z")
    assert (found["propagation"]["token"], found["propagation"]["channel"]) == ("open", "em2")
    work(server)
    states = {kind: job["state"] for kind, job in by_kind(server).items()}
    assert states == {"ingest": "QUEUED", "propagation": "DONE", "deletion": "DONE"}
    for job in listed(server)["jobs"]:
        assert json.loads(server.read(f"{JOBS}/{job['id']}")) == job


def test_a_list_is_paged_and_filtered(server):
    begin(server)
    whole = listed(server)
    assert whole["next"] is None
    found, after = [], ""
    while True:
        page = listed(server, query=f"?limit=1{after}")
        found += page["jobs"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert found == whole["jobs"]
    kinds = [job["kind"] for job in listed(server, query="?kind=ingest")["jobs"]]
    assert kinds == ["ingest"]
    states = [job["kind"] for job in listed(server, query="?state=RUNNING")["jobs"]]
    assert states == ["propagation"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "state=running", "kind=merges", "after=x", "page=2"]
)
def test_wrong_parameters_are_refused(server, query):
    assert_problem(server.get(f"{JOBS}?{query}", "alice"), 400, "InvalidArgumentError")


def test_jobs_are_their_owners_and_superusers(server):
    ingest = begin(server)
    assert listed(server, "bob") == {"jobs": [], "next": None}
    assert listed(server, "admin") == listed(server)
    for method, path in (("GET", ""), ("POST", "/retry"), ("POST", "/cancel")):
        with server.unchanged():
            for job in (ingest, "ingest-" + "0" * 16, "deletion-00", "nothing"):
                answer = server.call(method, f"{JOBS}/{job}{path}", "bob")
                assert_problem(answer, 404, "NotFoundError")
    assert server.get(JOBS).status_code == 401
    assert server.post(f"{JOBS}/{ingest}/cancel", "admin").status_code == 202


def test_jobs_are_cancelled_and_retried_in_the_right_states_only(server):
    begin(server)
    ids = {kind: job["id"] for kind, job in by_kind(server).items()}
    for job in ids.values():
        assert_problem(server.post(f"{JOBS}/{job}/retry", "alice"), 409, "InvalidStateError")
    refused = server.post(f"{JOBS}/{ids['deletion']}/cancel", "alice")
    assert_problem(refused, 409, "InvalidStateError")
    assert "cannot be cancelled" in refused.get_json()["detail"]
    for kind in ("ingest", "propagation"):
        answer = server.post(f"{JOBS}/{ids[kind]}/cancel", "alice")
        assert (answer.status_code, answer.get_json()["state"]) == (202, "CANCELLED")
        again = server.post(f"{JOBS}/{ids[kind]}/cancel", "alice")
        assert_problem(again, 409, "InvalidStateError")
    answer = server.post(f"{JOBS}/{ids['propagation']}/retry", "alice")
    assert (answer.status_code, answer.get_json()["state"]) == (202, "RUNNING")
    work(server)
    assert by_kind(server)["propagation"]["state"] == "DONE"


def test_a_failed_ingest_is_retried(server):
    config = {"token": "open", "channel": "em", "extent": {"z": [1, 2]}, "on_bad": "fail"}
    job = server.post("/v1/ingest", "alice", json=config).get_json()["id"]
    torn = {"errors": [{"slice": 1, "error": "torn"}]}
    assert server.post(f"/v1/ingest/{job}/errors", "alice", json=torn).status_code == 204
    (found,) = listed(server, query="?state=FAILED")["jobs"]
    assert (found["id"], found["reason"]) == (f"ingest-{job}", "torn")
    assert server.post(f"{JOBS}/{found['id']}/retry", "alice").get_json()["state"] == "RUNNING"


def test_the_run_before_makes_room_for_the_next(server):
    path = "/v1/projects/open/channels/em2/propagation"
    for _ in range(2):
        server.post(path, "alice")
        work(server)
    assert [job["kind"] for job in listed(server)["jobs"]] == ["propagation"]


def test_jobs_of_a_deleted_channel_leave_the_list(server):
    begin(server)
    project = server.runtime.catalog.get_project("pr")
    for name in ("em", "em2"):
        path = f"/v1/datasets/{project.dataset}/projects/pr/channels/{name}"
        assert server.call("DELETE", path, "alice").status_code == 204
    work(server)
    kinds = [(job["kind"], job["state"]) for job in listed(server)["jobs"]]
    assert kinds == [("deletion", "DONE")] * 3
    rows = server.runtime.resources.table.query(f"jobs#user#{server.owner}").rows
    assert len(rows) == 3, "nothing is listed that is gone"


def test_dead_letters_are_for_superusers(server):
    queue = server.runtime.resources.queues.ingest
    queue.send(["no message of ours"])
    for _ in range(5):
        (message,) = queue.receive(1, 0)
    assert queue.receive(1, 0) == []
    for user, status, error in (
        ("alice", 403, "PermissionDeniedError"),
        (None, 401, "AuthenticationError"),
    ):
        assert_problem(server.get(f"{JOBS}/dead", user), status, error)
        assert_problem(server.post(f"{JOBS}/dead/redrive", user), status, error)
    (dead,) = json.loads(server.read(f"{JOBS}/dead", "admin"))["dead"]
    assert (dead["queue"], dead["body"], dead["tries"]) == ("ingest", message.body, 5)
    assert server.post(f"{JOBS}/dead/redrive", "admin").get_json() == {"redriven": 1}
    assert json.loads(server.read(f"{JOBS}/dead", "admin")) == {"dead": []}
    assert queue.receive(1, 0)[0].body == message.body


def test_the_client_and_the_command_do_the_same(server):
    begin(server)
    client = connect("http://server", server.keys["alice"], transport=WsgiTransport(server.app))
    jobs = {job["kind"]: job["id"] for job in client.jobs.list(page_size=2)}
    assert client.jobs.get(jobs["ingest"])["state"] == "QUEUED"
    with pytest.raises(InvalidStateError):
        client.jobs.retry(jobs["ingest"])
    with pytest.raises(NotFoundError):
        client.jobs.get("ingest-none")
    assert client.jobs.cancel(jobs["ingest"])["state"] == "CANCELLED"
    listed = run_command(server, "jobs", "list", "--json", "--kind", "deletion")
    assert [job["id"] for job in json.loads(listed.output)] == [jobs["deletion"]]
    for words in (("list",), ("show", jobs["ingest"])):
        assert "CANCELLED" in run_command(server, "jobs", *words).output
    cancelled = run_command(server, "jobs", "cancel", jobs["propagation"], "--json")
    assert json.loads(cancelled.output)["state"] == "CANCELLED"
    assert "RUNNING" in run_command(server, "jobs", "retry", jobs["propagation"]).output
    refused = run_command(server, "jobs", "cancel", jobs["deletion"])
    assert (refused.exit_code, "cannot be cancelled" in refused.output) == (5, True)
    for command in ("dead", "redrive"):
        assert run_command(server, "jobs", command).exit_code == 4
    admin = connect("http://server", server.keys["admin"], transport=WsgiTransport(server.app))
    assert (admin.jobs.dead(), admin.jobs.redrive()) == ([], 0)
