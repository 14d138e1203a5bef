"""Ingest with workers that die and messages that are lost, doubled and mixed up."""

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from ingest_queue.jobs.job import State
from ndlambda.model.dtypes import ChannelType
from tests.support import catalog_world
from tests.support.faults import Crash, FaultPlan
from tests.support.ingest_world import (
    OFFSET,
    Chaos,
    IngestWorld,
    disk_ingest_world,
    png,
    stack,
)

SEEDS = range(20)
MOST_SWEEPS = 3


def dataset(z: int):
    return catalog_world.dataset(imagesize_xyz=(20, 14, z), offset_xyz=(0, 0, OFFSET))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IngestWorld]:
    made = disk_ingest_world(tmp_path, dataset=dataset(59))
    yield made
    made.close()


def check(world: IngestWorld, seed: int, *, times: int, z: int) -> None:
    world.populate(channel_type=ChannelType.TIMESERIES, endtime=times)
    voxels = stack(seed, times, z)
    chaos = Chaos(world, seed)
    chaos.first_pass(world.put_stack(voxels, times=True))
    sweeps = 0
    while sweeps < MOST_SWEEPS and world.job().state is not State.COMPLETE:
        chaos.sweep()
        sweeps += 1
    assert world.job().state is State.COMPLETE
    assert world.table.completions == 1
    assert chaos.crashes
    for _ in range(3):  # stragglers change nothing
        chaos.sweep()
    assert world.table.completions == 1
    for time_point in range(times):
        np.testing.assert_array_equal(world.stored(time_point=time_point), voxels[time_point])
    assert not list(world.process().ingest.faults(world.job()))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_job_completes_once_with_all_voxels(world: IngestWorld, seed: int):
    """15 % of deliveries die at some request, 20 % come twice, 5 % of the files are not told of.

    Seen to fail: without the sweeper entering what was not told of, jobs stay INGESTING; where the
    completion is not conditional, there are several.
    """
    check(world, seed, times=2, z=59)


def test_a_builder_may_die_after_any_request(tmp_path: Path):
    """And its message with it. Seen to fail where the sweeper takes a chunk that is stored for one
    that is entered among the stored ones: the job never ends."""
    for step in count(1):
        world = disk_ingest_world(tmp_path / f"{step}", dataset=dataset(18))
        world.populate()
        voxels = stack(step, z=18)[0, 14:]
        world.drop(
            "_ingest.json", json.dumps({"extent": {"z": [OFFSET + 14, OFFSET + 18]}}).encode()
        )
        # two slices of each chunk
        world.notice([world.put(f"{z}.png", png(p)) for z, p in enumerate(voxels, OFFSET + 14)])
        world.lose_messages()
        job = world.job()
        world.process().ingest.build(job.id, 1, 0)
        plan = FaultPlan(step)
        with suppress(Crash):
            world.process(plan).ingest.build(job.id, 1, 1)
        for _ in range(2):
            world.process().ingest.sweeper.sweep_all()
            world.pump()
        assert world.job().state is State.COMPLETE, plan.log
        assert world.table.completions == 1
        np.testing.assert_array_equal(world.stored()[14:], voxels)
        world.close()
        if not plan.fired:
            assert step > 10
            return


def test_so_does_one_on_aws(tmp_path: Path, moto_in_process: None):
    from ndlambda.stores import aws

    config = aws.AwsConfig()
    aws.create_table(config, "table")
    aws.create_queue(config, "builds")
    files = disk_ingest_world(tmp_path)  # obstore cannot reach a moto in this process
    base = catalog_world.World(
        aws.DynamoTable(config, "table"), files.base.objects, files.base.queue, files.base.clock
    )
    builds = aws.SqsQueue(config, "builds", dead_letter_wait_s=0)
    world = IngestWorld(base, files.drop_store, builds, dataset=dataset(35))
    check(world, 1, times=1, z=35)
    world.close()
    files.close()
