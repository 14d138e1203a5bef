"""Planes that cannot be read where they come from, told to a job; the volume is 300x200x40."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ndlambda.client.volume import bodies
from tests.integration.test_http_ingest import STACK, make, put, put_slice, show, stored, work
from tests.support.app import Server, assert_problem, serving

BOXES = {"token": "open", "channel": "em", "mode": "chunks"}
FIRST = 1
BAD = 7


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as made:
        yield made


def report(server: Server, job: str, faults: Any) -> Any:
    return server.post(f"/v1/ingest/{job}/errors", "alice", json={"errors": faults})


def faults_of(server: Server, job: str) -> Any:
    path = f"/v1/ingest/{job}/errors"
    answer = server.get(path, "alice", headers={"Accept": "application/json"})
    return answer.get_json()["errors"]


def put_boxes(server: Server, job: str, voxels: np.ndarray) -> int:
    """Send what is missing, and return how much that was."""
    missing = server.get(f"/v1/ingest/{job}/missing", "alice").get_json()["chunks"]
    for chunk in missing:
        (z0, z1), (y0, y1), (x0, x1) = (chunk[axis] for axis in "zyx")
        box = voxels[z0 - 1 : z1 - 1, y0 - 4 : y1 - 4, x0 - 8 : x1 - 8]
        answer = put(server, job, chunk["chunk"], "data.blosc", bodies.encode_array(box))
        assert answer.status_code == 201, answer.text
    work(server)
    return len(missing)


def test_a_plane_of_boxes_is_told_once_and_the_job_ends_with_errors(disk: Server):
    job = make(disk, {**BOXES, "on_bad": "zero"})["id"]
    for _ in range(2):
        told = report(disk, job, [{"slice": BAD, "error": "plane is damaged"}])
        assert told.status_code == 204, told.text
    without = STACK.copy()
    without[BAD - FIRST] = 0
    total = put_boxes(disk, job, without)
    assert show(disk, job)["state"] == "COMPLETE_WITH_ERRORS"
    (fault,) = faults_of(disk, job)
    assert (fault["t"], fault["part"], fault["error"]) == (0, BAD, "plane is damaged")
    assert (fault["count"], fault["key"]) == (2, "")
    assert np.array_equal(stored(disk), without)

    again = disk.post(f"/v1/ingest/{job}/retry", "alice")
    assert again.get_json()["state"] == "INGESTING"
    assert faults_of(disk, job) == []
    assert put_boxes(disk, job, STACK) == total, "all boxes that the plane goes through"
    assert show(disk, job)["state"] == "COMPLETE"
    assert np.array_equal(stored(disk), STACK)


def test_what_came_before_a_retry_is_not_stored_in_place_of_what_is_to_come(disk: Server):
    """Was seen to fail (COMPLETE, with zeros) when the boxes stayed in the drop store."""
    job = make(disk, {**BOXES, "on_bad": "zero"})["id"]
    report(disk, job, [{"slice": BAD, "error": "plane is damaged"}])
    zeros = np.zeros_like(STACK)
    missing = disk.get(f"/v1/ingest/{job}/missing", "alice").get_json()["chunks"]
    for chunk in missing:  # sent, and not built yet
        (z0, z1), (y0, y1), (x0, x1) = (chunk[axis] for axis in "zyx")
        box = zeros[z0 - 1 : z1 - 1, y0 - 4 : y1 - 4, x0 - 8 : x1 - 8]
        put(disk, job, chunk["chunk"], "data.blosc", bodies.encode_array(box))
    disk.post(f"/v1/ingest/{job}/retry", "alice")
    work(disk)
    disk.runtime.ingest.jobs.sweeper.sweep_all()
    work(disk)
    assert show(disk, job)["state"] == "INGESTING"
    assert put_boxes(disk, job, STACK) == len(missing)
    assert show(disk, job)["state"] == "COMPLETE"
    assert np.array_equal(stored(disk), STACK)


def test_a_slice_that_is_told_of_counts_as_missing_under_its_reason(disk: Server):
    job = make(disk, {"token": "open", "channel": "em", "on_bad": "skip"})["id"]
    report(disk, job, [{"t": 0, "slice": BAD, "error": "cannot be opened"}])
    for z in range(FIRST, FIRST + len(STACK)):
        if z != BAD:
            put_slice(disk, job, z)
    disk.post(f"/v1/ingest/{job}/complete", "alice")
    work(disk)
    assert show(disk, job)["state"] == "COMPLETE_WITH_ERRORS"
    (fault,) = faults_of(disk, job)
    assert (fault["part"], fault["error"]) == (BAD, "cannot be opened")
    put_slice(disk, job, BAD)
    work(disk)
    assert show(disk, job)["state"] == "COMPLETE"
    assert np.array_equal(stored(disk), STACK)


@pytest.mark.parametrize("mode", ["slices", "chunks"])
def test_where_the_policy_is_to_fail_the_job_ends(disk: Server, mode: str):
    job = make(disk, {**BOXES, "mode": mode})["id"]
    assert report(disk, job, [{"slice": BAD, "error": "gone"}]).status_code == 204
    assert (show(disk, job)["state"], show(disk, job)["reason"]) == ("FAILED", "gone")
    assert_problem(report(disk, job, [{"slice": 8, "error": "gone"}]), 409, "InvalidStateError")


@pytest.mark.parametrize(
    ("faults", "status", "name"),
    [
        ([{"slice": 0, "error": "x"}], 400, "OutOfBoundsError"),
        ([{"slice": 41, "error": "x"}], 400, "OutOfBoundsError"),
        ([{"slice": 7, "t": 1, "error": "x"}], 400, "OutOfBoundsError"),
        ([], 422, "ValidationError"),
        ("x", 422, "ValidationError"),
        ([{"slice": 7}], 422, "ValidationError"),
        ([{"slice": True, "error": "x"}], 422, "ValidationError"),
        ([{"slice": 7, "error": "x", "more": 1}], 422, "ValidationError"),
        ([{"slice": 7, "error": "x"}] * 1001, 422, "ValidationError"),
    ],
)
@pytest.mark.parametrize("mode", ["slices", "chunks"])
def test_what_is_no_plane_of_the_job_is_refused(disk, mode, faults, status, name):
    job = make(disk, {**BOXES, "mode": mode})["id"]
    assert_problem(report(disk, job, faults), status, name)
    assert faults_of(disk, job) == []


def test_nobody_else_tells_a_job(disk: Server):
    job = make(disk, BOXES)["id"]
    path = f"/v1/ingest/{job}/errors"
    answer = disk.post(path, "bob", json={"errors": [{"slice": 7, "error": "x"}]})
    assert_problem(answer, 404, "NotFoundError")
