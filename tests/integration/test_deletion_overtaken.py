"""Deletions when another process does something whole between any two steps of one."""

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from ndlambda.errors import NotFoundError
from ndlambda.services.catalog.deletion_jobs import EraseJob, EraseJobs, EraseKind
from ndlambda.services.catalog.service import Catalog
from tests.support.catalog_world import World, channel, dataset, disk_world, populate, project
from tests.support.faults import Crash, FaultPlan, Faulty, Interrupted


def test_a_channel_that_becomes_read_only_meanwhile_is_kept(tmp_path: Path) -> None:
    """Seen to fail without the version of the channel's row in ``Cascade.delete_channel``."""
    kept = []
    for step in count(1):
        world = disk_world(tmp_path / f"{step}")
        populate(world)
        protected: list[bool] = []

        def protect(world: World = world, protected: list[bool] = protected) -> None:
            with suppress(NotFoundError):
                world.catalog.update_channel("pr", "ch", readonly=True)
                protected.append(True)

        plan = Interrupted(step, protect)
        deleted = world.services(plan)[1].delete_channel("pr", "ch", keep_readonly=True)
        if not plan.fired:
            break
        assert deleted is not bool(protected), plan.log
        names = [found.name for found in world.catalog.lists.channels_of("pr")]
        assert ("ch" in names) is bool(protected), plan.log
        kept.append(bool(protected))
    assert set(kept) == {True, False}


def test_a_channel_that_is_made_again_meanwhile_leaves_no_voxels_behind(tmp_path: Path) -> None:
    """Seen to fail without the version of the channel's row in ``Cascade.delete_channel``: the row
    of the new channel goes with a job for the voxels of the old one."""
    for step in count(1):
        world = disk_world(tmp_path / f"{step}")
        populate(world)

        def make_again(world: World = world) -> None:
            with suppress(NotFoundError):
                world.catalog.delete_channel("pr", "ch")
            world.write(world.catalog.create_channel(channel()))

        plan = Interrupted(step, make_again)
        world.services(plan)[1].delete_channel("pr", "ch")
        if not plan.fired:
            break
        world.let_all_work_end()
        uids = {each.uid for each in world.catalog.lists.channels_of("pr") if each.name == "ch"}
        assert {key.split("/")[2] for key in world.keys("pr/ch/")} == uids, plan.log
    assert step > 2


def _project_again(world: World) -> None:
    with suppress(NotFoundError):
        world.catalog.delete_project("pr")
    world.catalog.create_project(project())
    world.catalog.create_channel(channel("new"))


def _dataset_again(world: World) -> None:
    with suppress(NotFoundError):
        world.catalog.delete_dataset("ds")
    world.catalog.create_dataset(dataset())
    world.catalog.create_project(project())
    world.catalog.create_channel(channel("new"))


@pytest.mark.parametrize(
    ("delete", "again"),
    [
        (lambda catalog: catalog.delete_project("pr"), _project_again),
        (lambda catalog: catalog.delete_dataset("ds"), _dataset_again),
    ],
    ids=["project", "dataset"],
)
def test_a_worker_leaves_what_was_made_again_under_the_name(
    tmp_path: Path, delete: Callable[[Catalog], None], again: Callable[[World], None]
) -> None:
    """Seen to fail without the uid in ``Cascade.finish``, and where the projects of a dataset are
    deleted though its marked row is gone."""
    for step in count(1):
        world = disk_world(tmp_path / f"{step}")
        populate(world)
        dying = world.services(FaultPlan(2))[1]  # the mark is the last that it does
        with pytest.raises(Crash):
            delete(dying)
        [job] = [row.sk for row in world.table.query("erase").rows]
        plan = Interrupted(step, lambda world=world: again(world))
        world.services(plan)[0].run(job)
        if not plan.fired:
            break
        names = [found.name for found in world.services()[1].lists.channels_of("pr")]
        assert names == ["new"], plan.log
    assert step > 3


@pytest.mark.parametrize("change", ["postpone", "enqueue_later", "requeue_stale"])
def test_a_job_that_ends_meanwhile_does_not_come_back(tmp_path: Path, change: str) -> None:
    """Seen to fail without the version in ``EraseJobs.postpone``: the row would stay for ever."""
    for step in count(1):
        world = disk_world(tmp_path / f"{step}")
        jobs = EraseJobs(world.table, world.queue, world.clock)
        job = jobs.new("uid", EraseKind.CHANNEL, "pr/ch")
        jobs.begin(job)
        world.clock.advance(3600)
        plan = Interrupted(step, lambda jobs=jobs, job=job: jobs.end(job.id))
        slow = EraseJobs(Faulty(world.table, plan), world.queue, world.clock)
        _change(slow, change, job)
        if not plan.fired:
            break
        assert jobs.find(job.id) is None, plan.log
    assert step > 2


def _change(jobs: EraseJobs, change: str, job: EraseJob) -> None:
    match change:
        case "postpone":
            jobs.postpone(job, 60)
        case "enqueue_later":
            jobs.enqueue_later(job, 60)
        case _:
            jobs.requeue_stale()
