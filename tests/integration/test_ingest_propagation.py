"""A propagation that a completed ingest still owes is of the channel that it filled."""

from dataclasses import replace
from pathlib import Path

import pytest

from ingest_queue.jobs.job import State
from ingest_queue.jobs.job_spec import JobSpec
from ndlambda.model.propagation import PropagateState
from tests.support.app import CHANNELS, serving


@pytest.mark.parametrize("is_made_again", [False, True])
def test_a_channel_that_was_made_again_is_not_propagated(tmp_path: Path, is_made_again: bool):
    """The process that completed the job died before it began the propagation; the sweep does.

    Seen to fail without the uid in what the runtime gives ingest to start propagations.
    """
    with serving(tmp_path) as server:
        catalog, jobs = server.runtime.catalog, server.runtime.ingest.jobs
        view = catalog.project_view("open", fresh=True)
        job = jobs.create(view, server.owner, JobSpec("em", propagate=True))
        jobs.ledger.change(job, lambda now: now.with_state(State.COMPLETE, jobs.ledger.now()))
        if is_made_again:
            catalog.delete_channel("pr", "em")
            catalog.create_channel(replace(CHANNELS[0], project="pr"))
        jobs.sweeper.sweep_all()
        assert jobs.ledger.get(job.id).propagated
        is_begun = catalog.get_channel("pr", "em").propagate == PropagateState.UNDER_PROPAGATION
        assert is_begun is not is_made_again
