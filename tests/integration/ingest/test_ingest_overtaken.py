"""Builders of chunks that others overtake: a job has one end, and no voxel is written in vain."""

from itertools import count

import numpy as np

from ingest_queue.jobs.job import State
from ndlambda.errors import InvalidStateError
from tests.support.faults import Wrapped, overtaken
from tests.support.ingest_world import OFFSET, disk_ingest_world, png, stack

DEPTH = 4  # slices of a volume of one chunk, which is one supercuboid


def test_a_job_that_is_cancelled_while_its_last_chunk_is_entered_is_not_completed(tmp_path):
    """Seen to fail without the state and generation in ``ChunkBuilder.complete``."""

    def worlds():
        for number in count():
            world = disk_ingest_world(tmp_path / f"{number}", DEPTH)
            world.populate()
            world.drop_stack(stack(1, z=DEPTH))
            yield world
            world.close()

    def cancel(world):
        try:
            return world.process().ingest.cancel(world.job())
        except InvalidStateError:  # it is complete
            return None

    endings = set()
    for world, plan in overtaken(worlds(), cancel):
        world.build(0, plan)
        if plan.fired:
            ending = (world.state, world.table.ends)
            assert ending == ((State.CANCELLED, 0) if plan.outcome else (State.COMPLETE, 1))
            endings.add(ending)
    assert len(endings) == 2


def test_voxels_of_a_slice_that_was_replaced_after_it_was_read_are_not_written(world):
    """Seen to fail without the version of the chunk in ``Composer``."""
    first, second = (stack(seed, z=DEPTH)[0] for seed in (1, 2))
    second[1:] = first[1:]
    world.drop_stack(first[None])
    name, replaced, put_keys = f"{OFFSET:04d}.png", [], []

    def get(get, key, *more, **options):
        found = get(key, *more, **options)
        if key.endswith(name) and not replaced:
            replaced.append(key)
            world.drop(name, png(second[0]))
        return found

    def put(put, key, *more):
        put_keys.append(key)
        return put(key, *more)

    wrapped = {
        "drop": Wrapped(world.drop_store, get=get),
        "objects": Wrapped(world.base.objects, put=put),
    }
    process = world.process(wrap=wrapped.get)
    process.ingest.build(world.job().id, 1, 0)
    assert replaced
    assert len([key for key in put_keys if key.startswith("pr/em/")]) == 1
    np.testing.assert_array_equal(world.stored(), second)
    assert world.state is State.COMPLETE
