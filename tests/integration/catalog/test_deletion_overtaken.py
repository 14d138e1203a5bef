"""Deletions when another process does something whole between any two steps of one."""

from contextlib import suppress
from itertools import count

import pytest

from ndlambda.errors import NotFoundError
from ndlambda.services.catalog.deletion_job import EraseKind
from ndlambda.services.catalog.deletion_jobs import EraseJobs
from tests.support.catalog_world import channel, dataset, disk_world, populate, project
from tests.support.faults import Crash, FaultPlan, Faulty, overtaken


@pytest.fixture
def worlds(tmp_path):
    """Worlds that hold the same."""

    def make():
        for number in count():
            world = disk_world(tmp_path / f"{number}")
            populate(world)
            yield world

    return make()


def protect(world):
    try:
        return world.catalog.update_channel("pr", "ch", readonly=True)
    except NotFoundError:
        return None


def test_a_channel_that_becomes_read_only_meanwhile_is_kept(worlds):
    """Seen to fail without the version of the channel's row in ``Cascade.delete_channel``."""
    kept = set()
    for world, plan in overtaken(worlds, protect):
        deleted = world.services(plan)[1].delete_channel("pr", "ch", keep_readonly=True)
        if plan.fired:
            is_protected = plan.outcome is not None
            assert deleted is not is_protected, plan.log
            names = [found.name for found in world.catalog.lists.channels_of("pr")]
            assert ("ch" in names) is is_protected, plan.log
            kept.add(is_protected)
    assert kept == {True, False}


def channel_again(world):
    with suppress(NotFoundError):
        world.catalog.delete_channel("pr", "ch")
    world.write(world.catalog.create_channel(channel()))


def test_a_channel_that_is_made_again_meanwhile_leaves_no_voxels_behind(worlds):
    """Seen to fail without the version of the row in ``Cascade.delete_channel``: voxels stay."""
    for world, plan in overtaken(worlds, channel_again):
        world.services(plan)[1].delete_channel("pr", "ch")
        world.let_all_work_end()
        uids = {each.uid for each in world.catalog.lists.channels_of("pr") if each.name == "ch"}
        assert {key.split("/")[2] for key in world.keys("pr/ch/")} == uids, plan.log


def project_again(world):
    with suppress(NotFoundError):
        world.catalog.delete_project("pr")
    world.catalog.create_project(project())
    world.catalog.create_channel(channel("new"))


def dataset_again(world):
    with suppress(NotFoundError):
        world.catalog.delete_dataset("ds")
    world.catalog.create_dataset(dataset())
    project_again(world)


@pytest.mark.parametrize(
    ("delete", "again"),
    [
        (lambda catalog: catalog.delete_project("pr"), project_again),
        (lambda catalog: catalog.delete_dataset("ds"), dataset_again),
    ],
    ids=["project", "dataset"],
)
def test_a_worker_leaves_what_was_made_again_under_the_name(worlds, delete, again):
    """Seen to fail without the uid in ``Cascade.finish``, or of the marked row."""
    for world, plan in overtaken(worlds, again, least=4):
        with pytest.raises(Crash):  # the mark is the last that it does
            delete(world.services(FaultPlan(4))[1])
        [job] = [row.sk for row in world.table.query("erase").rows]
        world.services(plan)[0].run(job)
        names = [found.name for found in world.services()[1].lists.channels_of("pr")]
        assert names == (["new"] if plan.fired else []), plan.log


@pytest.mark.parametrize(
    "change",
    [
        lambda jobs, job: jobs.take(job.id, is_redelivery=False),
        lambda jobs, job: jobs.enqueue_later(job, 60),
        lambda jobs, job: jobs.fail(job, "It failed."),
        lambda jobs, job: jobs.look_after(job.id),
    ],
    ids=["take", "enqueue_later", "fail", "look_after"],
)
def test_a_job_that_ends_meanwhile_does_not_come_back(worlds, change):
    """Seen to fail without the version in ``EraseJobs``: the row would stay for ever."""

    def jobs_of(world, table=None):
        return EraseJobs(table or world.table, world.queue, world.clock)

    for world, plan in overtaken(worlds, lambda world: jobs_of(world).end("uid")):
        jobs = jobs_of(world)
        job = jobs.new("uid", EraseKind.CHANNEL, "pr/ch")
        assert job.id == "uid"
        jobs.begin_all([job])
        world.clock.advance(3600)
        change(jobs_of(world, Faulty(world.table, plan)), job)
        assert not plan.fired or jobs.find(job.id) is None, plan.log
