"""``ndlambda ingest --plan``: estimates an ingest from headers and some planes."""

import time
from typing import Final

import click

from ingest_queue.jobs.grid import ChunkGrid
from ingest_queue.sources import Source
from ingest_queue.sources.plan import Plan, Sample, make_plan
from ingest_queue.sources.slices import SliceSource
from ndlambda.cli.data.creation import StackTarget, pyramid_of
from ndlambda.cli.output import print_table
from ndlambda.client.volume import bodies
from ndlambda.space.box import XYZ, Box

_MB: Final = 1e6
_MBIT_BYTES: Final = 125_000
_SAMPLE_BYTES: Final = 64_000_000
_CUBOIDS_PER_AXIS: Final = 2
"""Default of new channels."""


def print_plan(
    source: Source, target: StackTarget, uplink_mbit: int, files: SliceSource | None = None
) -> None:
    """Print objects, requests, bytes, minutes and dollars, without contacting a server.

    Parameters
    ----------
    files
        The source, if its files are sent as they are.
    """
    times, depth, height, width = source.shape_tzyx
    box, edges = Box((0, 0, 0), (width, height, depth)), _supercuboid(source, target)
    if files is None:
        grid, sample = (
            ChunkGrid.of_chunks(box, (0, times), edges),
            take_sample(source, _SAMPLE_BYTES),
        )
    else:
        grid, sample = ChunkGrid.of_slices(box, (0, times), edges, 0), sample_files(files)
    plan = make_plan(grid, edges, source.dtype.itemsize, sample, uplink_mbit * _MBIT_BYTES)
    print_table(["", "count", "dollars"], _rows(plan))
    click.echo(
        f"{plan.uploads} objects sent, {plan.objects} stored; {plan.requests} requests; "
        f"{plan.voxel_bytes / _MB:.1f} MB of voxels as {plan.upload_bytes / _MB:.1f} MB; about "
        f"{plan.minutes:.1f} minutes; {plan.dollars:.2f} dollars, then "
        f"{plan.month_dollars:.2f} a month. Nothing was sent."
    )


def take_sample(source: Source, max_bytes: int) -> Sample:
    """Read and compress some planes from the middle of a source, to measure ratio and speed."""
    times, depth, height, width = source.shape_tzyx
    planes = max(1, min(depth, max_bytes // (height * width * source.dtype.itemsize)))
    first = (depth - planes) // 2
    started = time.perf_counter()
    voxels = source.read(times // 2, first, first + planes)
    length = len(bodies.encode_array(voxels))
    seconds = max(time.perf_counter() - started, 1e-6)
    return Sample(length / voxels.nbytes, voxels.nbytes / seconds)


def sample_files(source: SliceSource) -> Sample:
    """Measure a folder of slices: the sizes of all files, and the reading speed of some."""
    _, depth, height, width = source.shape_tzyx
    lengths = source.file_sizes
    plane_bytes = height * width * source.dtype.itemsize
    started, read, files = time.perf_counter(), 0, 0
    for file in source.files[depth // 2 :]:
        if file is not None and file.is_file() and read < _SAMPLE_BYTES:
            read, files = read + len(file.read_bytes()), files + 1
    seconds = max(time.perf_counter() - started, 1e-6)
    return Sample(sum(lengths) / (depth * plane_bytes), max(files, 1) * plane_bytes / seconds)


def _supercuboid(source: Source, target: StackTarget) -> XYZ:
    """Return the supercuboid shape of a new channel with the default layout."""
    x, y, z = (edge * _CUBOIDS_PER_AXIS for edge in pyramid_of(source, target).level(0).cuboid_xyz)
    return x, y, z


def _rows(plan: Plan) -> list[list[str]]:
    rows = [[line.name, f"{line.count:.0f}", f"{line.dollars:.4f}"] for line in plan.lines]
    return [*rows, ["all", "", f"{plan.dollars:.4f}"]]
