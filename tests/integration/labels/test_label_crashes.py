"""Painters and erasers that die at any step: nothing is missed, and a repetition mends all."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ndlambda.errors import PreconditionFailedError
from ndlambda.model.discipline import Discipline
from ndlambda.services.labels.layer import LabelVolume
from ndlambda.services.labels.service import LabelService
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.space.box import Box
from tests.support.faults import Crash, at_every_step, copies_of
from tests.support.label_world import (
    DATASET,
    LabelWorld,
    channel,
    disk_stores,
    filled,
    missing,
    own_labels,
    region,
)

CHANNEL = channel()
VOLUME = LabelVolume(CHANNEL, DATASET.pyramid.level(0), 0)
BOX = Box((250 - 128, 60, 10), (260 - 128, 64, 20))
"""In two cuboids of one supercuboid."""
POINTS = np.array([[x, 62, 12] for x in range(100, 130)])


def paint(label: int, discipline: Discipline) -> Callable[[LabelService], object]:
    return lambda labels: labels.paint(
        CHANNEL, region(DATASET, BOX), filled(BOX, label), discipline
    )


STEPS: dict[str, Callable[[LabelService], object]] = {
    "overwrite": paint(9, Discipline.OVERWRITE),
    "preserve": paint(9, Discipline.PRESERVE),
    "exception": lambda labels: labels.paint_voxels(VOLUME, POINTS, 9, Discipline.EXCEPTION),
    "reduce": paint(1, Discipline.REDUCE),
    "erase": lambda labels: labels.erase_labels(DATASET, CHANNEL, [1]),
    "erase many": lambda labels: labels.erase_labels(DATASET, CHANNEL, [1, 2, 5, 17, 99]),
    "sweep": lambda labels: labels.sweeper.sweep(DATASET, CHANNEL),
}


@pytest.fixture(scope="module")
def pools():
    """One thread each, so that the steps come in one order."""
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        yield first, second


def prepared(folder: Path, pools: Any) -> LabelWorld:
    world = LabelWorld(*disk_stores(folder), *pools)
    labels = world.service()
    left = Box(BOX.start_xyz, (BOX.start_xyz[0] + 8, *BOX.stop_xyz[1:]))
    labels.paint(CHANNEL, region(DATASET, left), filled(left, 1), Discipline.OVERWRITE)
    labels.paint_voxels(VOLUME, POINTS[::2], 2, Discipline.EXCEPTION)
    labels._index.add(VOLUME.scope, 0, {1: {77}, 5: {0, 3}})  # somebody died here before
    return world


def seen(world: LabelWorld) -> tuple[Any, ...]:
    """Return everything that readers see."""
    everywhere = region(DATASET, VOLUME.level.box)
    own = own_labels(world.objects, world.executor, DATASET, CHANNEL, everywhere)
    extra = world.service().read.exceptions_in(CHANNEL, everywhere)
    return own.tobytes(), extra.points_xyz.tolist(), extra.labels.tolist()


@pytest.mark.parametrize("what", STEPS)
def test_a_process_that_dies_anywhere_leaves_a_superset_and_can_be_repeated(tmp_path, pools, what):
    """Each request to a store is the last of its process once. Seen to fail with step 3 of
    ``LabelPainter.edit`` behind step 4: the index then misses 9 where the painter died between the
    two. With the counter raised behind the painting, it is below 9."""
    prepared(tmp_path / "prepared", pools).close()
    opened = copies_of(
        tmp_path / "prepared", lambda folder: LabelWorld(*disk_stores(folder), *pools)
    )
    undisturbed = opened("undisturbed")
    STEPS[what](undisturbed.service())
    undisturbed.service().sweeper.sweep(DATASET, CHANNEL)
    for world, plan in at_every_step(opened, least=3):
        with suppress(Crash):
            STEPS[what](world.service(plan))
        truth = world.truth(DATASET, CHANNEL)
        assert not missing(truth, world.indexed(CHANNEL)), plan.log
        largest = max((label for _, label in truth), default=0)
        assert world.service().ids.free_ids(CHANNEL).last >= largest
        STEPS[what](world.service())
        assert seen(world) == seen(undisturbed), plan.log
        world.service().sweeper.sweep(DATASET, CHANNEL)
        assert world.indexed(CHANNEL) == world.truth(DATASET, CHANNEL), plan.log
        assert world.indexed(CHANNEL) == undisturbed.indexed(CHANNEL)


class Interfering:
    """An object store in which somebody else acts at a chosen moment, once."""

    def __init__(self, store: Any, **moments: Callable[[], object]) -> None:
        self._store = store
        self._moments = moments

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        found = self._store.get(*args, **kwargs)
        self._moments.pop("after_get", lambda: None)()
        return found

    def put(self, *args: Any, **kwargs: Any) -> Any:
        self._moments.pop("before_put", lambda: None)()
        etag = self._store.put(*args, **kwargs)
        self._moments.pop("after_put", lambda: None)()
        return etag


@pytest.mark.parametrize("moment", ["after_get", "before_put", "after_put"])
@pytest.mark.parametrize("first", ["overwrite", "reduce", "erase", "erase many", "sweep"])
@pytest.mark.parametrize("second", ["overwrite", "reduce", "back", "erase", "sweep"])
def test_another_writer_between_steps_leaves_no_label_unindexed(
    tmp_path, pools, first, second, moment
):
    """A whole operation of another process at each moment of one. Seen to fail with the versions
    read at step 5 instead of step 2 (back, then overwrite after the put: the index misses 1), and
    with the put left out of the sweep (overwrite, with a sweep before its put: the index misses
    9)."""
    steps = {**STEPS, "back": paint(1, Discipline.OVERWRITE)}
    with ThreadPoolExecutor(1) as own, ThreadPoolExecutor(1) as own_rows:
        world = prepared(tmp_path, pools)
        other = LabelWorld(world.objects, world.table, own, own_rows)
        between = {moment: lambda: steps[second](other.service())}
        disturbed = LabelWorld(Interfering(world.objects, **between), world.table, *pools)
        steps[first](disturbed.service(options=VolumeOptions(pause=lambda seconds: None)))
    truth = world.truth(DATASET, CHANNEL)
    assert not missing(truth, world.indexed(CHANNEL))
    world.service().sweeper.sweep(DATASET, CHANNEL)
    assert world.indexed(CHANNEL) == world.truth(DATASET, CHANNEL) == truth


def test_a_painter_whose_put_held_without_an_answer_takes_out_what_it_painted_over(tmp_path, pools):
    """As S3 does when a connection breaks: the client sends the put again, which then fails. Seen
    to fail without the look at the write-id: the entries of 1 stay."""

    def lost() -> None:
        raise PreconditionFailedError("The retry met its own first attempt.")

    world = prepared(tmp_path, pools)
    world.service().sweeper.sweep(DATASET, CHANNEL)
    disturbed = LabelWorld(Interfering(world.objects, after_put=lost), world.table, *pools)
    STEPS["reduce"](disturbed.service(options=VolumeOptions(pause=lambda seconds: None)))
    assert world.indexed(CHANNEL) == world.truth(DATASET, CHANNEL)
    assert all(label != 1 for _, label in world.indexed(CHANNEL))
