"""Pyramids: arithmetic and builder compared with tensorstore's downsample driver and tinybrain.

Part 1 halves one block in memory, single-threaded, and reports source voxels per second. Part 2
builds three levels of a volume on disk, isotropic, by mean: ndlambda reads the finest level once
and writes all levels in one pass, tensorstore writes each level from the one below, in its own
threads. Part 3 propagates tiled copies of FIB-25 (or of synthetic voxels if it is missing), an
image and its labels, from the start of a job to its end, including queue, rows and index. tinybrain
takes part if it is installed (it is GPL, so nothing here depends on it). Run ``python -m
benchmarks.propagate``; results go to ``benchmarks/results/``.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorstore
from numpy.typing import NDArray

from benchmarks.propagate_jobs import FIB25, job_lines, measure_jobs
from benchmarks.timing import Elapsed, stopwatch
from ndlambda.local.synthetic import em_stack
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.propagation import PropagateState
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.painter import LabelPainter
from ndlambda.services.propagation.builder import Built, PyramidBuilder, PyramidNode
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.ancestry import Ancestry
from ndlambda.space.box import XYZ
from ndlambda.space.morton import encode
from ndlambda.space.pyramid import Scaling
from ndlambda.stores.disk import DiskObjectStore, SqliteTable
from ndlambda.voxels.downsample import Method, downsample

LEVELS = 3
EDGE = 64
Halve = Callable[[NDArray[Any]], NDArray[Any]]


# --- arithmetic ----------------------------------------------------------------------------


def halvers(factors: XYZ, method: Method) -> dict[str, Halve]:
    """Return functions that halve a block (z, y, x), by name."""
    slices = factors[2]
    found: dict[str, Halve] = {"ndlambda": lambda block: downsample(block, factors, method)}
    if method is Method.MEAN:
        # One copy thread, like ndlambda.
        context = tensorstore.Context({"data_copy_concurrency": {"limit": 1}})

        def by_tensorstore(block: NDArray[Any]) -> NDArray[Any]:
            source = tensorstore.array(block, context=context)
            halved = tensorstore.downsample(source, [slices, 2, 2], method="mean")
            return np.asarray(halved.read().result())

        found["tensorstore"] = by_tensorstore
    if find_spec("tinybrain") is None:
        return found
    tinybrain = import_module("tinybrain")
    names = {Method.MEAN: "downsample_with_averaging", Method.LABELS: "downsample_segmentation"}
    if method in names:
        peer = getattr(tinybrain, names[method])
        found["tinybrain"] = lambda block: peer(block.T, factors, num_mips=1)[0].T
    return found


def measure_arithmetic(rounds: int) -> list[dict[str, Any]]:
    """Return a row for each kind of block, with source voxels per second by name."""
    if find_spec("tinybrain") is None:
        print("tinybrain is not installed and left out: pip install 'ndlambda[bench]' (GPL-3).")
    image = em_stack((128, 256, 256))
    labels = np.repeat(np.repeat(image[:, ::16, ::16], 16, axis=1), 16, axis=2)
    blocks = [
        ("uint8", image, Method.MEAN),
        ("uint16", image.astype("<u2") * 257, Method.MEAN),
        ("float32", image.astype("<f4"), Method.MEAN),
        ("uint32 labels", labels.astype("<u4"), Method.LABELS),
        ("uint64 labels", labels.astype("<u8"), Method.LABELS),
    ]
    rows = []
    for name, block, method in blocks:
        for factors in ((2, 2, 1), (2, 2, 2)):
            peers = halvers(factors, method)
            rate = {}
            for who, halve in peers.items():
                walls = []
                for _ in range(rounds):
                    with stopwatch() as elapsed:
                        halve(block)
                    walls.append(elapsed.wall_s)
                # The minimum, because other processes use this machine too.
                rate[who] = round(block.size / min(walls) / 1e6, 1)
            if method is Method.MEAN:  # the rules for labels differ between libraries
                ours, theirs = (peers[who](block) for who in ("ndlambda", "tensorstore"))
                np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=name)
            rows.append({"block": name, "factors": list(factors), "mvoxels_per_s": rate})
            print(rows[-1], flush=True)
    return rows


# --- a band of levels ----------------------------------------------------------------------


def zarr_level(folder: Path, level: int, shape_zyx: tuple[int, ...]) -> tensorstore.TensorStore:
    """Return a new Zarr v3 array with a cuboid per chunk and the same codec."""
    blosc = {
        "cname": "zstd", "clevel": 1, "shuffle": "noshuffle", "typesize": 1, "blocksize": 0,
    }  # fmt: skip
    return tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": f"{folder}/{level}/"},
            "metadata": {
                "shape": list(shape_zyx),
                "data_type": "uint8",
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [EDGE] * 3}},
                "codecs": [{"name": "bytes"}, {"name": "blosc", "configuration": blosc}],
            },
            "context": {"file_io_sync": False},
        },
        create=True,
        delete_existing=True,
    ).result()


def build_by_tensorstore(
    folder: Path, base: tensorstore.TensorStore
) -> tuple[Elapsed, list[NDArray[Any]]]:
    """Write each level from the one below."""
    levels = [base]
    with stopwatch() as elapsed:
        for level in range(1, LEVELS + 1):
            halved = tensorstore.downsample(levels[-1], [2, 2, 2], method="mean")
            target = zarr_level(folder, level, halved.shape)
            target.write(halved).result()
            levels.append(target)
    return elapsed, [level.read().result() for level in levels[1:]]


def build_by_ndlambda(
    folder: Path, voxels: NDArray[np.uint8], threads: int
) -> tuple[Elapsed, Built, list[NDArray[Any]]]:
    """Build all levels, root by root, in threads."""
    depth, height, width = voxels.shape
    dataset = Dataset(
        "bench", (width, height, depth), scaling=Scaling.ISOTROPIC, scalinglevels=LEVELS
    )
    channel = Channel(
        "b", "em", ChannelType.IMAGE, DataType.UINT8, uid="u", propagate=PropagateState.PROPAGATED
    )
    objects = DiskObjectStore(folder / "objects", fsync=False)
    table = SqliteTable(folder / "table.sqlite", fsync=False)
    options = VolumeOptions(cutout_voxels=1 << 32)
    with ThreadPoolExecutor(threads) as pool:
        volume = VolumeService(objects, pool, ByteBudget(1 << 34), options)
        regions = [
            Region(level, level.box, (0, 1)) for level in map(dataset.pyramid.level, range(4))
        ]
        volume.write(channel, regions[0], voxels[None])
        painter = LabelPainter(objects, LabelIndex(table), pool, options)
        builder = PyramidBuilder(objects, painter, options)
        edges = Ancestry(dataset.pyramid, channel.cuboids_per_axis).supercuboid_xyz(LEVELS)
        size = dataset.pyramid.level(LEVELS).imagesize_xyz
        counts = [-(-length // edge) for length, edge in zip(size, edges, strict=True)]
        roots = [PyramidNode(LEVELS, 0, encode(x, y, z)) for x, y, z in np.ndindex(*counts)]
        with stopwatch() as elapsed:
            built = list(
                pool.map(
                    lambda root: builder.build(dataset, channel, root, LEVELS, Method.MEAN), roots
                )
            )
        total = Built(
            sum(each.objects_read for each in built),
            sum(each.objects_written for each in built),
            sum(each.voxels_read for each in built),
        )
        levels = [volume.read(dataset, channel, region)[0] for region in regions[1:]]
    return elapsed, total, levels


def measure_band(edge: int, threads: int) -> dict[str, Any]:
    """Build the same levels by both builders and compare them."""
    tile = em_stack((256, 256, 256))
    times = -(-edge // 256)
    voxels = np.tile(tile, (times, times, times))[:edge, :edge, :edge]
    with TemporaryDirectory() as name:
        folder = Path(name)
        base = zarr_level(folder / "zarr", 0, voxels.shape)
        base.write(voxels).result()
        theirs, their_levels = build_by_tensorstore(folder / "zarr", base)
        ours, built, our_levels = build_by_ndlambda(folder / "ours", voxels, threads)
    # A level built from a rounded one is rounded twice, by both in the same way.
    for mine, other in zip(our_levels, their_levels, strict=True):
        np.testing.assert_array_equal(mine, other)
    sources = -((-edge // (2 * EDGE)) ** 3)
    rows = {
        who: {
            "mvoxels_per_s": round(voxels.size / each.wall_s / 1e6, 1),
            "cpu_s_per_gvoxel": round(each.cpu_s / voxels.size * 1e9, 2),
        }
        for who, each in (("ndlambda", ours), ("tensorstore", theirs))
    }
    reads = round(built.objects_read / sources, 3)
    voxel_reads = round(built.voxels_read / voxels.size, 3)
    return {
        "edge": edge,
        "threads": threads,
        **rows,
        "reads_per_source": reads,
        "voxels_read_per_voxel": voxel_reads,
        "objects_written": built.objects_written,
    }


# --- the page ------------------------------------------------------------------------------


def markdown(
    rows: list[dict[str, Any]], band: dict[str, Any], jobs: dict[str, Any], facts: dict[str, Any]
) -> str:
    """Return the results as a Markdown page."""
    names = list(dict.fromkeys(name for row in rows for name in row["mvoxels_per_s"]))
    lines = [
        "# Pyramids",
        "",
        f"{facts['date']}, {facts['cpus']} CPUs, Python {facts['python']}.",
        "",
        (
            f"Arithmetic in memory, one thread, best of {facts['rounds']}: "
            "million source voxels a second."
        ),
        "",
        "| block | factors x, y, z | " + " | ".join(names) + " |",
        "|---|---|" + "---|" * len(names),
        *(
            f"| {row['block']} | {row['factors']} | "
            + " | ".join(str(row["mvoxels_per_s"].get(name, "-")) for name in names)
            + " |"
            for row in rows
        ),
        "",
        (
            f"Three levels of {band['edge']}^3 voxels (uint8, isotropic, zstd 1) on disk; "
            f"{band['threads']} threads build, tensorstore uses as many as it likes."
        ),
        "",
        "| who | million source voxels a second | CPU s for 10^9 source voxels |",
        "|---|---|---|",
        *(
            f"| {who} | {band[who]['mvoxels_per_s']} | {band[who]['cpu_s_per_gvoxel']} |"
            for who in ("ndlambda", "tensorstore")
        ),
        "",
        (
            f"Our builder read each source object {band['reads_per_source']} times "
            f"({band['voxels_read_per_voxel']} reads of each voxel) and wrote "
            f"{band['objects_written']} objects; tensorstore read every level but the last."
        ),
        "",
        *job_lines(jobs),
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of the arithmetic")
    parser.add_argument("--edge", type=int, default=512, help="edge of the volume in voxels")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--copies", type=int, nargs=3, default=(3, 2, 2), help="of FIB-25, x y z")
    parser.add_argument("--fib25", type=Path, default=FIB25, help="its folder")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    rows = measure_arithmetic(options.rounds)
    band = measure_band(options.edge, options.threads)
    x, y, z = options.copies
    jobs = measure_jobs(options.fib25, (x, y, z), options.threads)
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "rounds": options.rounds,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "propagate.json").write_text(
        json.dumps({**facts, "arithmetic": rows, "band": band, "jobs": jobs}, indent=2) + "\n"
    )
    (options.output / "propagate.md").write_text(markdown(rows, band, jobs, facts))
    print(markdown(rows, band, jobs, facts))


if __name__ == "__main__":
    main()
