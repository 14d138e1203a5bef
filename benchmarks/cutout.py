"""Cutouts from a real S3 server: the volume service, tensorstore, zarr-python and plain boto3.

All read the same voxels with the same codec and the same cuboid or chunk shape from one SeaweedFS
that this program starts. The others store one object per cuboid (Zarr v3, unsharded), ndlambda
stores supercuboids. ndlambda is timed twice: without any cached object, and with the index at the
end of each object cached (its voxels never are). Readers alternate at random positions; the table
shows medians and their ratio to ndlambda's first one, in wall time and in CPU seconds of this
process (the server's share is excluded). Run ``python -m benchmarks.cutout``; results go to
``benchmarks/results/``.
"""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import blosc
import boto3
import numpy as np
import tensorstore
import zarr
import zarr.codecs
import zarr.storage
from numpy.typing import NDArray
from obstore.store import S3Store

from benchmarks.timing import stopwatch
from ndlambda.local.synthetic import em_stack
from ndlambda.model.catalog import Channel, Dataset
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.box import XYZ, Box
from ndlambda.space.grid import cover
from ndlambda.stores.aws import AwsConfig, S3ObjectStore, create_bucket
from tests.support.seaweed import Seaweed, seaweed_server

THREADS = 8
CUBOID: XYZ = (128, 128, 16)
BUCKET = "bench"
OURS, OURS_AGAIN = "ndlambda", "ndlambda again"
ZARR = "zarr"
Reader = Callable[[Box], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Case:
    """A box shape, and whether it starts on the cuboid grid."""

    name: str
    shape_xyz: XYZ
    aligned: bool


CASES = (
    Case("256x256x16 aligned", (256, 256, 16), aligned=True),
    Case("256x256x16 unaligned", (256, 256, 16), aligned=False),
    Case("512x512x16 aligned", (512, 512, 16), aligned=True),
    Case("512x512x16 unaligned", (512, 512, 16), aligned=False),
    Case("512x512x64 aligned", (512, 512, 64), aligned=True),
    Case("512x512x64 unaligned", (512, 512, 64), aligned=False),
    Case("1024x1024x64 aligned", (1024, 1024, 64), aligned=True),
    Case("1024x1024x64 unaligned", (1024, 1024, 64), aligned=False),
    Case("plane 2048x2048", (2048, 2048, 1), aligned=False),
)


def make_volume(depth: int) -> NDArray[np.uint8]:
    """Return (z, y, x) voxels, 2048 x 2048 x depth, of EM-like tiles."""
    tile = em_stack((depth, 512, 512))
    return np.tile(tile, (1, 4, 4))


@contextmanager
def our_readers(config: AwsConfig, voxels: NDArray[np.uint8]) -> Iterator[dict[str, Reader]]:
    """Store the volume as supercuboids and yield the volume service's readers."""
    depth, height, width = voxels.shape
    dataset = Dataset("bench", (width, height, depth), voxelres_xyz=(4, 4, 40))
    channel = Channel("bench", "em", ChannelType.IMAGE, DataType.UINT8, uid="u")
    level = dataset.pyramid.level(0)
    objects, budget = S3ObjectStore(config, BUCKET), ByteBudget(1 << 33)
    options = VolumeOptions(cutout_voxels=1 << 30)
    with ThreadPoolExecutor(THREADS) as pool:

        def read(volume: VolumeService, box: Box) -> NDArray[np.uint8]:
            return volume.read(dataset, channel, Region(level, box, (0, 1)))[0]

        cached = VolumeService(objects, pool, budget, options)
        cached.write(channel, Region(level, level.box, (0, 1)), voxels[None])
        read(cached, level.box)
        yield {
            OURS: lambda box: read(VolumeService(objects, pool, budget, options), box),
            OURS_AGAIN: partial(read, cached),
        }


def write_zarr(server: Seaweed, voxels: NDArray[np.uint8]) -> tensorstore.TensorStore:
    """Store the volume as a Zarr v3 array of one cuboid per chunk and return it, opened."""
    x, y, z = CUBOID
    array = tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": {
                "driver": "s3",
                "bucket": BUCKET,
                "path": f"{ZARR}/",
                "endpoint": server.endpoint_url,
                "aws_region": "us-east-1",
                "aws_credentials": {"type": "environment"},
            },
            "metadata": {
                "shape": list(voxels.shape),
                "data_type": "uint8",
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [z, y, x]}},
                "codecs": [
                    {"name": "bytes"},
                    {
                        "name": "blosc",
                        "configuration": {
                            "cname": "zstd",
                            "clevel": 1,
                            "shuffle": "noshuffle",
                            "typesize": 1,
                            "blocksize": 0,
                        },
                    },
                ],
            },
            "context": {
                "s3_request_concurrency": {"limit": 16},
                "cache_pool": {"total_bytes_limit": 0},
            },
        },
        create=True,
        delete_existing=True,
    ).result()
    array[...].write(voxels).result()
    return array


def zarr_reader(server: Seaweed) -> Reader:
    """Return a reader by zarr-python and obstore."""
    store = S3Store(
        BUCKET,
        prefix=ZARR,
        endpoint=server.endpoint_url,
        region="us-east-1",
        access_key_id=server.access_key_id,
        secret_access_key=server.secret_access_key,
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
    )
    array = zarr.open_array(zarr.storage.ObjectStore(store, read_only=True), mode="r")
    return lambda box: np.asarray(array[box.slices_zyx()])


def boto3_reader(server: Seaweed) -> Reader:
    """Return a straightforward reader: boto3, blosc, eight threads."""
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
    )
    pool = ThreadPoolExecutor(THREADS)

    def read(box: Box) -> NDArray[np.uint8]:
        out = np.zeros(box.shape_zyx, np.uint8)

        def fetch(cell) -> None:
            x, y, z = (a // c for a, c in zip(cell.box.start_xyz, CUBOID, strict=True))
            body = client.get_object(Bucket=BUCKET, Key=f"{ZARR}/c/{z}/{y}/{x}")["Body"].read()
            chunk = np.frombuffer(blosc.decompress(body), np.uint8).reshape(CUBOID[::-1])
            out[cell.part.slices_zyx(box.start_xyz)] = chunk[
                cell.part.slices_zyx(cell.box.start_xyz)
            ]

        list(pool.map(fetch, cover(box, CUBOID)))
        return out

    return read


def positions(case: Case, bounds: XYZ, count: int) -> list[Box]:
    """Return boxes of a case inside the volume, the same in every run."""
    random = np.random.default_rng(len(case.name))
    boxes = []
    for _ in range(count):
        corner = [
            int(random.integers(0, size - edge + 1))
            for size, edge in zip(bounds, case.shape_xyz, strict=True)
        ]
        if case.aligned:
            corner = [at // edge * edge for at, edge in zip(corner, CUBOID, strict=True)]
        boxes.append(Box.at((corner[0], corner[1], corner[2]), case.shape_xyz))
    return boxes


def measure(readers: dict[str, Reader], voxels: NDArray[np.uint8], rounds: int) -> list[dict]:
    """Time every reader on every case, alternating, and return one row per case."""
    depth, height, width = voxels.shape
    rows = []
    for case in CASES:
        walls: dict[str, list[float]] = {name: [] for name in readers}
        cpus: dict[str, list[float]] = {name: [] for name in readers}
        for turn, box in enumerate(positions(case, (width, height, depth), rounds + 1)):
            order = list(readers)
            order = order[turn % len(order) :] + order[: turn % len(order)]
            for name in order:
                with stopwatch() as elapsed:
                    found = readers[name](box)
                if turn == 0:  # the warm-up checks that all read the same voxels
                    np.testing.assert_array_equal(found, voxels[box.slices_zyx()], err_msg=name)
                else:
                    walls[name].append(elapsed.wall_s)
                    cpus[name].append(elapsed.cpu_s)
        size_mb = box.voxels / 1e6
        median = {name: statistics.median(values) for name, values in walls.items()}
        cpu_median = {name: statistics.median(values) for name, values in cpus.items()}
        rows.append(
            {
                "case": case.name,
                "mb_per_s": {name: round(size_mb / value, 1) for name, value in median.items()},
                "cpu_ms": {name: round(value * 1e3, 2) for name, value in cpu_median.items()},
                "ratio": {name: round(median[name] / median[OURS], 2) for name in readers},
                "cpu_ratio": {
                    name: round(cpu_median[name] / cpu_median[OURS], 2) for name in readers
                },
            }
        )
        print(_line(rows[-1]), flush=True)
    return rows


def _line(row: dict) -> str:
    cells = [
        f"{name} {row['mb_per_s'][name]:7.1f} MB/s "
        f"(x{row['ratio'][name]:.2f}, cpu {row['cpu_ms'][name]:.1f} ms)"
        for name in row["mb_per_s"]
    ]
    return f"{row['case']:24}" + " | ".join(cells)


def geometric_means(rows: list[dict], key: str) -> dict[str, float]:
    """Return the geometric mean over all cases of a ratio, by reader."""
    return {
        name: round(statistics.geometric_mean([row[key][name] for row in rows]), 2)
        for name in rows[0][key]
    }


def markdown(rows: list[dict], facts: dict) -> str:
    """Return the results as a Markdown page."""
    names = list(rows[0]["mb_per_s"])
    lines = [
        "# Cutouts from S3",
        "",
        (
            f"{facts['date']}, {facts['cpus']} CPUs, Python {facts['python']}, SeaweedFS on "
            f"loopback, load average {facts['load']}, cuboid {'x'.join(map(str, CUBOID))}, zstd 1 "
            f"no shuffle, {THREADS} threads, median of {facts['rounds']} positions. "
            "MB/s of voxels; in brackets CPU ms of the client. "
            f"{OURS}: nothing is cached; again: the indexes of all objects are cached."
        ),
        "",
        "| cutout | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
        *(
            f"| {row['case']} | "
            + " | ".join(f"{row['mb_per_s'][n]} ({row['cpu_ms'][n]})" for n in names)
            + " |"
            for row in rows
        ),
        "",
        "Time relative to ndlambda (geometric mean over the cases): "
        + ", ".join(
            f"{name} {wall} wall / {facts['cpu_ratio'][name]} CPU"
            for name, wall in facts["ratio"].items()
            if name != OURS
        )
        + ".",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="positions a case")
    parser.add_argument("--depth", type=int, default=96, help="slices of the volume")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    voxels = make_volume(options.depth)
    with TemporaryDirectory() as folder, seaweed_server(Path(folder)) as server:
        os.environ.update(
            AWS_ACCESS_KEY_ID=server.access_key_id, AWS_SECRET_ACCESS_KEY=server.secret_access_key
        )
        config = AwsConfig(
            endpoint_url=server.endpoint_url,
            access_key_id=server.access_key_id,
            secret_access_key=server.secret_access_key,
        )
        create_bucket(config, BUCKET)
        with our_readers(config, voxels) as ours:
            stored = write_zarr(server, voxels)
            readers: dict[str, Reader] = {
                **ours,
                "tensorstore": lambda box: stored[box.slices_zyx()].read().result(),
                "zarr-python": zarr_reader(server),
                "boto3 loop": boto3_reader(server),
            }
            rows = measure(readers, voxels, options.rounds)
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),  # of the whole machine, including this benchmark
        "python": platform.python_version(),
        "rounds": options.rounds,
        "ratio": geometric_means(rows, "ratio"),
        "cpu_ratio": geometric_means(rows, "cpu_ratio"),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "cutout.json").write_text(
        json.dumps({**facts, "cases": rows}, indent=2) + "\n"
    )
    (options.output / "cutout.md").write_text(markdown(rows, facts))
    print(markdown(rows, facts))


if __name__ == "__main__":
    main()
