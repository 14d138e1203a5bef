"""Jobs that ask for coarser resolutions, and slices that are mended after these were built."""

from dataclasses import replace

import numpy as np
import pytest

from functions import propagate
from ingest_queue.jobs.job import Job, State
from ingest_queue.jobs.job_spec import JobSpec
from ndlambda.local.pump import pump_once
from ndlambda.model.propagation import PropagateState
from ndlambda.services.volume.region import Region
from ndlambda.space.box import Box
from ndlambda.voxels.downsample import Method, downsample
from tests.support.app import BRAIN, CHANNELS, Server, serving
from tests.support.http_jobs import Array, few, make_few, put_few, put_slice, show, work
from tests.support.ingest_world import look_after_all

BAD = 34
"""The slice that cannot be decoded at first."""


def work_and_propagate(server: Server) -> None:
    work(server)
    while pump_once(server.runtime.resources.queues.propagate, propagate.handler, 1):
        pass


def coarser(server: Server) -> Array:
    """Return what resolution 1 holds of the box of the job."""
    region = Region(BRAIN.pyramid.level(1), Box((0, 0, 29), (16, 16, 35)), (0, 1))
    dataset = server.runtime.catalog.get_dataset("brain")
    channel = server.runtime.catalog.get_channel("pr", "em")
    return server.runtime.volume.read(dataset, channel, region)[0]


def start_with_bad_slice(server: Server) -> str:
    job = make_few(server, on_bad="zero", propagate=True)
    put_few(server, job, without=BAD)
    put_slice(server, job, BAD, b"no image")
    return job


def test_a_slice_mended_after_the_propagation_is_mended_at_coarser_resolutions(disk: Server):
    """Seen to fail where a job is propagated only once: the plane stays zero for good."""
    job = start_with_bad_slice(disk)
    work_and_propagate(disk)
    assert show(disk, job)["state"] == "COMPLETE_WITH_ERRORS"
    assert not coarser(disk)[BAD - 30].any()

    put_slice(disk, job, BAD)
    work_and_propagate(disk)
    assert show(disk, job)["state"] == "COMPLETE"
    np.testing.assert_array_equal(coarser(disk), downsample(few(), (2, 2, 1), Method.MEAN))


def test_a_slice_mended_while_the_propagation_is_being_started_is_propagated_too(
    disk: Server, monkeypatch: pytest.MonkeyPatch
):
    """Seen to fail where a resumed job is recorded as propagated by the worker that ended it."""
    job = start_with_bad_slice(disk)
    builder = disk.runtime.ingest.jobs._builder
    start = builder._propagate

    def start_and_mend(ended: Job) -> None:
        start(ended)
        monkeypatch.setattr(builder, "_propagate", start)
        put_slice(disk, job, BAD)

    monkeypatch.setattr(builder, "_propagate", start_and_mend)
    work_and_propagate(disk)
    look_after_all(disk.runtime.ingest.jobs)  # the chunk waited for the end of the first one
    work_and_propagate(disk)
    assert show(disk, job)["state"] == "COMPLETE"
    np.testing.assert_array_equal(coarser(disk), downsample(few(), (2, 2, 1), Method.MEAN))


@pytest.mark.parametrize("is_made_again", [False, True])
def test_a_channel_that_was_made_again_is_not_propagated(tmp_path, is_made_again):
    """By the sweep. Seen to fail without the uid where the runtime starts propagations."""
    with serving(tmp_path) as server:
        catalog, jobs = server.runtime.catalog, server.runtime.ingest.jobs
        view = catalog.project_view("open", fresh=True)
        job = jobs.create(view, server.owner, JobSpec("em", propagate=True))
        jobs.ledger.change(job, lambda now: now.with_state(State.COMPLETE, jobs.ledger.now()))
        if is_made_again:
            catalog.delete_channel("pr", "em")
            catalog.create_channel(replace(CHANNELS[0], project="pr"))
        look_after_all(jobs)
        assert jobs.ledger.get(job.id).propagated
        is_begun = catalog.get_channel("pr", "em").propagate == PropagateState.UNDER_PROPAGATION
        assert is_begun is not is_made_again
