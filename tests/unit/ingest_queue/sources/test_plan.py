"""The plan counts what an ingest does, no less."""

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ingest_queue.jobs.grid import ChunkGrid
from ingest_queue.jobs.job import Job, Mode, State
from ingest_queue.sources.plan import PER_CHUNK, PER_SLAB, PER_SLICE, PRICES, Sample, make_plan
from ndlambda.client.volume import bodies
from ndlambda.space.box import Box
from ndlambda.stores.ports import Overwrite
from tests.support import catalog_world
from tests.support.counted import Counted
from tests.support.ingest_world import OFFSET, IngestWorld, disk_ingest_world

SAMPLE = Sample(ratio=0.5, bytes_per_s=1e6)
KINDS = {
    ("objects", "get"): "S3 GET",
    ("drop", "get"): "S3 GET",
    ("objects", "put"): "S3 PUT",
    ("drop", "put"): "S3 PUT",
    ("table", "get"): "DynamoDB read",
    ("table", "query"): "DynamoDB read",
    ("table", "put"): "DynamoDB write",
    ("table", "transact"): "DynamoDB write",
    ("table", "add_members"): "DynamoDB write",
    ("table", "remove_members"): "DynamoDB write",
    ("builds", "send"): "SQS request",
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[IngestWorld]:
    dataset = catalog_world.dataset(imagesize_xyz=(130, 130, 256), offset_xyz=(0, 0, OFFSET))
    made = disk_ingest_world(tmp_path, dataset=dataset)
    made.populate()
    yield made
    made.close()


@pytest.mark.parametrize("mode", Mode)
def test_an_ingest_makes_no_more_requests_than_the_plan_counts(world, mode):
    job = world.create(mode=mode)
    target = world.process().ingest.target(job)
    grid = target.grid(job)
    assert grid.count > 3
    plan = make_plan(grid, target.supercuboid_xyz, 1, SAMPLE, 1e6)
    ports: dict[str, Counted] = {}
    process = world.process(wrap=lambda name, port: ports.setdefault(name, Counted(port)))
    counts: Counter[str] = Counter()
    for key, body in uploads(job, grid):
        counts["S3 PUT"] += 1
        world.drop_store.put(key, body, Overwrite())
        process.drop.on_object_created(key)
    world.pump(process)
    for (name, call), kind in KINDS.items():
        counts[kind] += ports[name].calls[call]
    assert process.ingest.ledger.get(job.id).state is State.COMPLETE
    assert counts["S3 PUT"] <= plan.uploads + 2 * grid.count + plan.objects
    once = 10  # for the job, not for a chunk
    planned = {line.name: line.count for line in plan.lines}
    for kind, count in counts.items():
        assert count <= planned[kind] + once, kind
        if kind != "SQS request":  # S3 and the receivers make the others, and none of them here
            assert planned[kind] <= 3 * count, f"{kind}: not much more either"


def uploads(job: Job, grid: ChunkGrid) -> Iterator[tuple[str, bytes]]:
    """Iterate over keys and contents of all parts of a job."""
    rng = np.random.default_rng(1)
    for chunk in grid.chunks():
        folder = f"{job.folder}{chunk.number:012x}"
        voxels = rng.integers(1, 9, chunk.box.shape_zyx, dtype=np.uint8)
        if job.mode is Mode.CHUNKS:
            yield f"{folder}/data.blosc", bodies.encode_array(voxels)
            continue
        for z, plane in zip(chunk.parts, voxels, strict=True):
            file = io.BytesIO()
            Image.fromarray(plane).save(file, "PNG", compress_level=1)
            yield f"{folder}/{z:06d}.png", file.getvalue()


def test_lines_are_counts_times_prices():
    grid = ChunkGrid.of_chunks(Box((0, 0, 0), (1024, 1024, 128)), (0, 2), (256, 256, 32))
    plan = make_plan(grid, (256, 256, 32), 2, SAMPLE, 1e5)
    voxel_bytes = 1024 * 1024 * 128 * 2 * 2
    assert (plan.uploads, plan.objects) == (16, 128)
    assert (plan.voxel_bytes, plan.upload_bytes) == (voxel_bytes, voxel_bytes // 2)
    assert plan.minutes == voxel_bytes / 2 / 1e5 / 60, "the network is the slower one"
    for line in plan.lines:
        assert line.dollars == pytest.approx(line.count * PRICES[line.name])
    puts = next(line.count for line in plan.lines if line.name == "S3 PUT")
    assert puts == 16 * PER_CHUNK["S3 PUT"] + 128
    assert plan.dollars == pytest.approx(sum(line.dollars for line in plan.lines))
    assert plan.requests < sum(line.count for line in plan.lines)


def test_slices_are_counted_one_by_one_and_as_slabs():
    grid = ChunkGrid.of_slices(Box((0, 0, 0), (1024, 1024, 128)), (0, 2), (256, 256, 32), 0)
    plan = make_plan(grid, (256, 256, 32), 2, SAMPLE, 1e5)
    assert (plan.uploads, plan.objects) == (256, 2 * 4 * 16)
    puts = next(line.count for line in plan.lines if line.name == "S3 PUT")
    assert puts == 256 * PER_SLICE["S3 PUT"] + 8 * PER_SLAB["S3 PUT"] + 128
