"""Builders of chunks that others overtake: a job has one end, and no voxel is written in vain."""

from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ingest_queue.jobs.job import State
from ndlambda.errors import InvalidStateError
from tests.support import catalog_world
from tests.support.faults import Interrupted
from tests.support.ingest_world import OFFSET, IngestWorld, disk_ingest_world, png, stack

DEPTH = 4
"""Slices of a volume of one chunk, which is one supercuboid."""


def make_world(folder: Path) -> IngestWorld:
    dataset = catalog_world.dataset(imagesize_xyz=(20, 14, DEPTH), offset_xyz=(0, 0, OFFSET))
    made = disk_ingest_world(folder, dataset=dataset)
    made.populate()
    return made


def drop_all(world: IngestWorld, voxels: Any) -> None:
    for z, plane in enumerate(voxels, OFFSET):
        world.drop(f"{z:04d}.png", png(plane))


def test_a_job_that_is_cancelled_while_its_last_chunk_is_entered_is_not_completed(tmp_path: Path):
    """Seen to fail without the state and generation in ``ChunkBuilder.complete``."""
    endings = set()
    for step in count(1):
        world = make_world(tmp_path / f"{step}")
        drop_all(world, stack(1, z=DEPTH)[0])
        cancelled: list[bool] = []

        def cancel(world: IngestWorld = world, cancelled: list[bool] = cancelled) -> None:
            with suppress(InvalidStateError):  # it is complete
                world.process().ingest.cancel(world.job())
                cancelled.append(True)

        plan: Any = Interrupted(step, cancel)
        world.process(plan).ingest.build(world.job().id, 1, 0)
        ending = (world.job().state, world.table.completions)
        world.close()
        if not plan.fired:
            break
        assert ending == ((State.CANCELLED, 0) if cancelled else (State.COMPLETE, 1)), plan.log
        endings.add(ending)
    assert len(endings) == 2


class ReplacedBehind:
    """A drop store in which a slice is replaced just behind the read of it."""

    def __init__(self, store: Any, name: str, replace: Any) -> None:
        self._store = store
        self._name = name
        self._replace = replace
        self.fired = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, key: str, *more: Any, **options: Any) -> Any:
        found = self._store.get(key, *more, **options)
        if key.endswith(self._name) and not self.fired:
            self.fired = True
            self._replace()
        return found


class Puts:
    """A store of objects that notes the keys that are put."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.keys: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, data: Any, mode: Any) -> str:
        self.keys.append(key)
        etag: str = self._store.put(key, data, mode)
        return etag


def test_voxels_of_a_slice_that_was_replaced_after_it_was_read_are_not_written(tmp_path: Path):
    """Seen to fail without the version of the chunk in ``Composer``: they are written, and the
    newer ones over them."""
    world = make_world(tmp_path)
    first, second = (stack(seed, z=DEPTH)[0] for seed in (1, 2))
    second[1:] = first[1:]
    drop_all(world, first)
    name = f"{OFFSET:04d}.png"
    drop = ReplacedBehind(world.drop_store, name, lambda: world.drop(name, png(second[0])))
    objects = Puts(world.base.objects)
    wrapped = {"drop": drop, "objects": objects}
    process = world.process(wrap=wrapped.get)
    process.ingest.build(world.job().id, 1, 0)
    assert drop.fired
    assert len([key for key in objects.keys if key.startswith("pr/em/")]) == 1
    np.testing.assert_array_equal(world.stored(), second)
    assert world.job().state is State.COMPLETE
    world.close()
