"""Propagation with workers that die and messages that are lost, doubled and mixed up."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ndlambda.model.discipline import Discipline
from ndlambda.space.box import Box
from ndlambda.stores.aws import AwsConfig
from tests.support.catalog_world import moto_world
from tests.support.faults import FaultPlan
from tests.support.label_world import LabelWorld, missing
from tests.support.propagation_world import (
    CUBES,
    OVERDUE_S,
    SLICES,
    SMALL,
    Chaos,
    PropagationWorld,
    image,
    labels,
    voxels,
)

SEEDS = range(20)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PropagationWorld]:
    made = PropagationWorld(tmp_path, SLICES, depth=1)
    yield made
    made.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_job_ends_once_with_all_levels_right(world: PropagationWorld, seed: int):
    """15 % of workers die at some request, 20 % of messages come twice, 5 % never.

    Half of the jobs are full; the others follow a propagation and a write. Seen to fail: without
    ``resend_pending`` jobs hang; with tasks entered as done before they are built, levels are
    wrong.
    """
    chaos = Chaos(world, seed)
    channel = world.base.catalog.create_channel(image())
    world.process().volume.write(channel, world.region(), voxels(world.region(), seed))
    if seed % 2:
        world.propagate(channel)
        part = world.part(Box((100, 90, 3), (280, 140, 17)))
        world.process().volume.write(world.channel(), part, voxels(part, seed + 1))
    ends = world.table.ends
    chaos.start(world.channel())
    chaos.until_ended("em")
    assert world.channel().propagate == 2
    assert world.table.ends == ends + 1
    world.assert_levels(channel)
    for _ in range(6):  # stragglers change nothing
        chaos.turn()
    assert world.table.ends == ends + 1
    assert world.channel().propagate == 2
    world.assert_levels(channel)
    assert world.process().propagation.status(world.dataset, world.channel()).stale == 0


def test_chaos_is_as_bad_as_it_says(world: PropagationWorld):
    """Of all that is begun, 15 % really die (and not only are meant to)."""
    chaos = [Chaos(world, seed) for seed in SEEDS]
    channel = world.base.catalog.create_channel(image())
    world.process().volume.write(channel, world.region(), voxels(world.region(), 0))
    for each in chaos:
        each.start(world.channel(), full=True)
        each.until_ended("em")
    begun, died = (sum(getattr(each, what) for each in chaos) for what in ("processes", "crashes"))
    assert begun > 400
    assert died / begun >= 0.15


@pytest.mark.parametrize("seed", SEEDS[:10])
def test_processes_at_one_time_end_a_job_once_all_the_same(world: PropagationWorld, seed: int):
    """As above, with four processes side by side, and a write and another propagation behind it.

    Seen to fail with tasks entered as done before they are built.
    """
    chaos = Chaos(world, seed, workers=4)
    channel = world.base.catalog.create_channel(image())
    world.process().volume.write(channel, world.region(), voxels(world.region(), seed))
    chaos.start(channel, full=True)
    chaos.until_ended("em")
    assert world.channel().propagate == 2
    part = world.part(Box((100, 90, 3), (280, 140, 17)))
    world.process().volume.write(world.channel(), part, voxels(part, seed + 1))
    chaos.start(world.channel())
    chaos.until_ended("em")
    for _ in range(6):
        chaos.turn()
    assert world.channel().propagate == 2
    assert world.table.ends == 2
    world.assert_levels(channel)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_it_ends_in_the_cloud_too(tmp_path: Path, moto_config: AwsConfig, seed: int):
    """On DynamoDB, S3 and SQS as moto imitates them, one request at a time."""
    world = PropagationWorld(tmp_path, SMALL, depth=1, stores=moto_world(moto_config))
    chaos = Chaos(world, seed, workers=3)
    channel = world.base.catalog.create_channel(image())
    world.process().volume.write(channel, world.region(), voxels(world.region(), seed))
    chaos.start(channel)
    chaos.until_ended("em")
    chaos.turn()
    assert world.channel().propagate == 2
    assert world.table.ends == 1
    world.assert_levels(channel)
    world.close()


@pytest.mark.parametrize("seed", range(3))
def test_labels_and_their_index_survive_it_too(tmp_path: Path, seed: int):
    world = PropagationWorld(tmp_path, CUBES, depth=1)
    chaos = Chaos(world, seed)
    channel = world.base.catalog.create_channel(labels())
    region = world.region()
    painted = voxels(region, seed, "<u4", top=5)
    world.process().labels.paint(channel, region, painted, Discipline.OVERWRITE)
    world.process().propagation.start(world.dataset, channel)
    chaos.until_ended("labels")
    world.assert_levels(channel)
    seen = LabelWorld(world.base.objects, world.base.table, *world.pools)
    assert not missing(seen.truth(CUBES, channel), seen.indexed(channel))
    world.close()


def test_a_job_ends_though_nearly_every_worker_dies(world: PropagationWorld):
    world.max_attempts = 1000
    chaos = Chaos(world, 0, {"crash": 0.9, "duplicate": 0.0, "loss": 0.0})
    channel = world.base.catalog.create_channel(image())
    world.process().volume.write(channel, world.region(), voxels(world.region(), 0))
    world.process().propagation.start(world.dataset, channel)
    chaos.until_ended("em")
    assert chaos.crashes >= 5
    assert world.table.ends == 1
    world.assert_levels(channel)


def test_many_workers_at_once_end_a_job_once(world: PropagationWorld):
    channel = world.base.catalog.create_channel(image())
    world.process().volume.write(channel, world.region(), voxels(world.region(), 0))
    world.process().propagation.start(world.dataset, channel)

    def work() -> None:
        process = world.process()
        while world.channel().propagate == 1:
            world.pump(process)

    with ThreadPoolExecutor(4) as workers:
        for future in [workers.submit(work) for _ in range(4)]:
            future.result(60)
    assert world.table.ends == 1
    world.assert_levels(channel)


class Interrupted(FaultPlan):
    """Does something else before an operation, instead of dying there."""

    def __init__(self, at: int, interruption: Callable[[], object]) -> None:
        super().__init__(at)
        self._interruption = interruption

    def carry_out(self, name: str, operation: Callable[[], Any]) -> Any:
        self.log.append(name)
        if len(self.log) == self.fail_at:
            self._interruption()
        return operation()


@pytest.mark.parametrize("overtaken", ["planner", "builder"])
def test_a_worker_that_is_overtaken_anywhere_does_no_harm(tmp_path: Path, overtaken: str):
    """Between two requests of it, others do all that is left, write, and begin anew.

    Seen to fail where a step of a job is put without a look at its position: the worker takes a
    job that has ended back to where it thinks that it is.
    """
    delivered = {"planner": 0, "builder": 1}[overtaken]
    for step in count(1):
        world = PropagationWorld(tmp_path / f"{step}", SMALL, depth=1)
        channel = world.base.catalog.create_channel(image())
        world.process().volume.write(channel, world.region(), voxels(world.region(), 0))
        world.process().propagation.start(SMALL, channel)
        world.pump(most=delivered)
        (message,) = world.queue.receive(1)

        def meanwhile(world: PropagationWorld = world, body: str = message.body) -> None:
            world.process().propagation.run(body)
            world.pump()
            while world.channel().propagate == 1:  # the messages of the next step are not sent yet
                world.clock.advance(OVERDUE_S)
                world.process().propagation.resend_pending()
                world.pump()
            fresh = voxels(world.region(), 1)
            world.process().volume.write(world.channel(), world.region(), fresh)
            world.process().propagation.start(SMALL, world.channel())

        plan = Interrupted(step, meanwhile)
        world.process(plan).propagation.run(message.body)
        world.pump()
        assert world.channel().propagate == 2, plan.log
        fired = plan.fired
        assert world.table.ends == (2 if fired else 1), plan.log
        world.assert_levels(channel)
        world.close()
        if not fired:
            assert step > 10
            return
