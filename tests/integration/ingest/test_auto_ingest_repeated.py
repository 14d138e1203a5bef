"""autoIngest asked for again: after a crash anywhere, at the same time, after a failing store."""

from dataclasses import replace

import pytest

from ndlambda import runtime
from ndlambda.errors import DatasetNotFoundError, UpstreamError
from ndlambda.web.app import App
from tests.support import auto_ingest as auto
from tests.support.app import serving
from tests.support.auto_ingest import SUCCESS
from tests.support.faults import Crash, FaultPlan, Faulty

URL = "http://brain.example"


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path / "data", max_ingest_user_jobs=0) as made:
        yield made


@pytest.fixture
def plan(server):
    """Let the server's stores be used under a plan, by which nothing dies yet."""
    plan, living = FaultPlan(None), server.runtime
    ports = runtime.open_ports(server.settings)
    faulty = replace(
        ports,
        table=Faulty(ports.table, plan),
        open_queue=lambda name: Faulty(ports.open_queue(name), plan),
    )
    server.runtime = runtime.build(server.settings, faulty)
    server.app = App(server.runtime)
    yield plan
    server.runtime.close()
    server.runtime = living


def volume(number):
    names = {"project_name": f"pj{number}", "token_name": f"tk{number}"}
    doc = auto.request(URL, dataset={"dataset_name": f"ds{number}"}, project=names)
    doc["channels"]["more"] = auto.channel(URL, channel_name="more", propagate=1)
    return doc


def jobs_of(server, number):
    """Return the channels of jobs that are fetched, one for each job."""
    listed = server.get("/v1/ingest?limit=1000", "alice").get_json()["jobs"]
    return sorted(
        job["channel"]
        for job in listed
        if job["token"] == f"tk{number}"
        and job["state"] == "CREATED"
        and server.runtime.ingest.fetcher.find(job["id"]) is not None
    )


def dies(server, plan, at, doc):
    """Let a process die behind an operation of a request."""
    plan.log.clear()
    plan.fail_at = at
    with pytest.raises(Crash):
        auto.post(server, doc)
    plan.fail_at = None


def writes(server, plan):
    for number in (1001, 1002):  # the first one reads more than those that follow
        plan.log.clear()
        auto.assert_taken(server, volume(number))
    reads = ("get", "query", "batch_get")
    return [n for n, name in enumerate(plan.log, 1) if name.rpartition(".")[2] not in reads]


def test_what_a_crash_left_half_made_is_finished_by_the_same_request(server, plan):
    """Seen to fail when requests are not written down: the channel exists already."""
    steps = writes(server, plan)
    assert len(steps) > 10
    for step in steps:
        dies(server, plan, step, volume(step))
        answer = auto.post(server, volume(step))
        assert jobs_of(server, step) == ["em", "more"]
        if step == steps[-1]:  # it was finished, only the answer was lost
            assert auto.text(answer).startswith("Channel em already exists.")
        else:
            assert auto.text(answer, 200) == SUCCESS, plan.log


def test_another_request_does_not_go_on_with_what_a_crash_left(server, plan):
    """Only what is asked for in the same words is what was begun."""
    dies(server, plan, writes(server, plan)[-4], volume(1))
    other = volume(1)
    other["channels"]["em"]["data_url"] = "http://another.example"
    assert auto.said(server, other).startswith("Channel em already exists.")
    auto.assert_taken(server, volume(1))


def test_where_a_store_fails_the_same_request_finishes_it(server, monkeypatch):
    """Taking back what was made would fail of the same store."""
    create = server.runtime.ingest.jobs.create

    def fail(view, owner_id, spec):
        if spec.channel == "more":
            raise UpstreamError("It failed.")
        return create(view, owner_id, spec)

    monkeypatch.setattr(server.runtime.ingest.jobs, "create", fail)
    assert auto.post(server, volume(1)).status_code == 502
    monkeypatch.undo()
    auto.assert_taken(server, volume(1))
    assert jobs_of(server, 1) == ["em", "more"]


def test_a_refused_request_is_forgotten_with_what_it_made(tmp_path):
    with serving(tmp_path / "data", max_ingest_user_jobs=1) as server:
        assert auto.post(server, volume(1)).status_code == 429
        with pytest.raises(DatasetNotFoundError):
            server.runtime.catalog.get_dataset("ds1")
        assert not server.runtime.resources.table.query("ingest#auto").rows
