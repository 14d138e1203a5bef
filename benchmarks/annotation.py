"""Painting labels on disk: the label service compared with tensorstore's read-modify-write.

Every painter paints the same blocks of the same volume, which are not aligned to any grid, one
after the other; non-zero voxels replace stored ones. ndlambda stores 128^3 supercuboids of 64^3
cuboids, an index of every label and an id counter. tensorstore (zarr3, the same codec and cuboids,
once sharded in 128^3 and once with one cuboid per chunk) reads a block, overlays it and writes it
in a transaction of its own, without an index. The volume is the ground truth of FIB-25 if it is
beside the checkout, else cells of a wavy grid. Painters alternate, each round in a new folder; the
table shows medians. All painters sync every file before its rename, or none does. Run ``python -m
benchmarks.annotation``; results go to ``benchmarks/results/``.
"""

import argparse
import json
import os
import platform
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorstore
from numpy.typing import NDArray

from benchmarks.timing import stopwatch
from ndlambda.model.catalog import LABEL_CODEC, Channel, Dataset
from ndlambda.model.discipline import Discipline
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.services.labels.service import LabelService
from ndlambda.services.support.budget import ByteBudget
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.region import Region
from ndlambda.services.volume.service import VolumeService
from ndlambda.space.box import XYZ, Box
from ndlambda.space.grid import cover
from ndlambda.space.pyramid import Scaling
from ndlambda.stores.disk import DiskObjectStore, SqliteTable

TRUTH = Path(__file__).parents[2] / "shared" / "data" / "fib25" / "groundtruth_labels.npz"
THREADS = 8
BLOCK: XYZ = (100, 90, 70)
CUBOID = 64
SHARD = 128
SHIFT = 20
"""Voxels in x by which the volume is shifted before it is painted over itself."""

Labels = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Painter:
    """A subject of the benchmark: paints blocks, and reads everything back."""

    paint: Callable[[Box, Labels], None]
    read: Callable[[], Labels]
    count: Callable[[], Counter[str]]
    """Requests so far: objects read, objects written, table requests."""


Open = Callable[[Path, Labels, bool], AbstractContextManager[Painter]]


class Counting:
    """Wraps a port and counts its calls."""

    def __init__(self, port: Any, names: dict[str, str], counts: Counter[str]) -> None:
        self._port, self._names, self._counts = port, names, counts

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._port, name)
        if not callable(attribute):
            return attribute

        def operation(*args: Any, **kwargs: Any) -> Any:
            self._counts[self._names.get(name, "rows")] += 1
            return attribute(*args, **kwargs)

        return operation


@contextmanager
def our_painter(folder: Path, labels: Labels, fsync: bool) -> Iterator[Painter]:
    """Yield a painter of the label service on files and SQLite."""
    depth, height, width = labels.shape
    dataset = Dataset("bench", (width, height, depth), scaling=Scaling.ISOTROPIC)
    channel = Channel("bench", "labels", ChannelType.ANNOTATION, DataType.UINT32, uid="u")
    level = dataset.pyramid.level(0)
    counts: Counter[str] = Counter()
    files = DiskObjectStore(folder / "objects", fsync=fsync)
    rows = SqliteTable(folder / "table.sqlite", fsync=fsync)
    objects: Any = Counting(files, {"get": "read", "put": "write"}, counts)
    table: Any = Counting(rows, {}, counts)
    options = VolumeOptions()
    with ThreadPoolExecutor(THREADS) as pool:
        volume = VolumeService(objects, pool, ByteBudget(1 << 33), options)
        service = LabelService(objects, table, volume, pool, options)

        def paint(box: Box, block: Labels) -> None:
            region = Region(level, box, (0, 1))
            service.paint(channel, region, block[None], Discipline.OVERWRITE)

        yield Painter(
            paint,
            lambda: volume.read(dataset, channel, Region(level, level.box, (0, 1)))[0],
            counts.copy,
        )
    rows.close()


@contextmanager
def tensorstore_painter(
    folder: Path, labels: Labels, fsync: bool, *, sharded: bool
) -> Iterator[Painter]:
    """Yield a painter of a Zarr v3 array on files, with a transaction per block."""
    codecs: list[dict] = [
        {"name": "bytes"},
        {
            "name": "blosc",
            "configuration": {
                "cname": LABEL_CODEC.cname,
                "clevel": LABEL_CODEC.clevel,
                "shuffle": "noshuffle",
                "typesize": 4,
                "blocksize": 1 << 16,
            },
        },
    ]
    if sharded:
        configuration = {
            "chunk_shape": [CUBOID] * 3,
            "codecs": codecs,
            "index_codecs": [{"name": "bytes"}, {"name": "crc32c"}],
        }
        codecs = [{"name": "sharding_indexed", "configuration": configuration}]
    chunk = [SHARD if sharded else CUBOID] * 3
    array = tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": f"{folder}/zarr/"},
            "metadata": {
                "shape": list(labels.shape),
                "data_type": "uint32",
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
                "codecs": codecs,
            },
            "context": {"cache_pool": {"total_bytes_limit": 0}, "file_io_sync": fsync},
        },
        create=True,
    ).result()

    def paint(box: Box, block: Labels) -> None:
        with tensorstore.Transaction() as transaction:
            part = array.with_transaction(transaction)[box.slices_zyx()]
            there = part.read().result()
            part.write(np.where(block == 0, there, block)).result()

    yield Painter(paint, lambda: array.read().result(), _file_requests)


def _file_requests() -> Counter[str]:
    prefix = "/tensorstore/kvstore/file/"
    counts: Counter[str] = Counter()
    for metric in tensorstore.experimental_collect_matching_metrics(prefix):
        name = metric["name"].removeprefix(prefix)
        if name in {"read", "write"}:
            counts[name] = sum(value["value"] for value in metric["values"])
    return counts


PAINTERS: dict[str, Open] = {
    "ndlambda": our_painter,
    "tensorstore, shards": partial(tensorstore_painter, sharded=True),
    "tensorstore, chunks": partial(tensorstore_painter, sharded=False),
}


def volume_of_labels() -> tuple[str, Labels]:
    """Return a name and labels (z, y, x)."""
    if TRUTH.is_file():
        with np.load(TRUTH) as file:
            return "FIB-25 ground truth", file["labels"]
    z, y, x = (axis.astype(np.float32) for axis in np.ogrid[:250, :250, :250])
    wavy = (x + 9 * np.sin(y / 17), y + 9 * np.sin(z / 13), z + 9 * np.sin(x / 19))
    cells = np.zeros((250, 250, 250), np.uint32)
    for axis in wavy:
        cells = cells * 9 + ((axis + 9) // 32).astype(np.uint32)
    return "cells of a wavy grid", cells + 1


def paint_volume(painter: Painter, labels: Labels) -> dict[str, float]:
    """Paint all blocks and return time, CPU time and requests."""
    blocks = [cell.part for cell in cover(Box((0, 0, 0), labels.shape[::-1]), BLOCK)]
    arrays = [np.ascontiguousarray(labels[box.slices_zyx()]) for box in blocks]
    before = painter.count()
    with stopwatch() as elapsed:
        for box, block in zip(blocks, arrays, strict=True):
            painter.paint(box, block)
    requests = painter.count() - before
    counts = {key: requests[key] for key in ("read", "write", "rows")}
    return {"wall_s": elapsed.wall_s, "cpu_s": elapsed.cpu_s, **counts}


def run_round(
    order: list[str], labels: Labels, fsync: bool, folder: Path, *, check: bool
) -> dict[tuple[str, str], dict[str, float]]:
    """Let every painter paint the volume and paint over it; return figures by case and name."""
    moved = np.roll(labels, SHIFT, axis=2)
    found = {}
    for name in order:
        with (
            TemporaryDirectory(dir=folder) as home,
            PAINTERS[name](Path(home), labels, fsync) as painter,
        ):
            for case, volume in (("first", labels), ("over", moved)):
                found[case, name] = paint_volume(painter, volume)
                if check:
                    expected = np.where(moved == 0, labels, moved) if case == "over" else labels
                    np.testing.assert_array_equal(painter.read(), expected, err_msg=name)
    return found


def measure(labels: Labels, rounds: int, folder: Path) -> list[dict]:
    """Return one row per case and painter: medians over the rounds."""
    rows = []
    for fsync in (True, False):
        results = []
        for turn in range(rounds + 1):
            names = list(PAINTERS)
            order = names[turn % len(names) :] + names[: turn % len(names)]
            # The first round checks that all painted the same, and is not counted.
            result = run_round(order, labels, fsync, folder, check=turn == 0)
            results += [result] if turn else []
        for case, name in results[0]:
            figures = [result[case, name] for result in results]
            median = {key: statistics.median(f[key] for f in figures) for key in figures[0]}
            rows.append({"case": case, "fsync": fsync, "painter": name, **median})
    rows.sort(key=lambda row: (not row["fsync"], row["case"], list(PAINTERS).index(row["painter"])))
    return rows


def markdown(rows: list[dict], facts: dict) -> str:
    """Return the results as a Markdown page."""
    titles = {"first": "first painting", "over": f"painted over, moved by {SHIFT} voxels"}
    lines = [
        "# Painting labels on a disk",
        "",
        (
            f"{facts['date']}, {facts['cpus']} CPUs, Python {facts['python']}, "
            f"{facts['volume']}, {'x'.join(map(str, facts['shape_zyx']))} uint32, in "
            f"{facts['blocks']} blocks of {'x'.join(map(str, BLOCK))} one after the other, "
            f"zstd {LABEL_CODEC.clevel}, median of {facts['rounds']} rounds. ndlambda also keeps "
            "the index of labels, which are the table requests; tensorstore keeps none. "
            f"Load average of the machine: {facts['load'][0]:.1f} before, {facts['load'][1]:.1f} "
            "after; where it is over the number of CPUs, trust the CPU seconds only."
        ),
        "",
        "| what | painter | seconds | CPU s | objects read | written | table requests |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {titles[row['case']]}, {'synced' if row['fsync'] else 'not synced'} "
            f"| {row['painter']} | {row['wall_s']:.2f} | {row['cpu_s']:.2f} "
            f"| {row['read']:.0f} | {row['write']:.0f} | {row['rows']:.0f} |"
            for row in rows
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    volume, labels = volume_of_labels()
    load = [os.getloadavg()[0]]
    with TemporaryDirectory() as folder:
        rows = measure(labels, options.rounds, Path(folder))
    load.append(os.getloadavg()[0])
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "rounds": options.rounds,
        "load": load,
        "volume": volume,
        "shape_zyx": labels.shape,
        "blocks": len(list(cover(Box((0, 0, 0), labels.shape[::-1]), BLOCK))),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "annotation.json").write_text(
        json.dumps({**facts, "rows": rows}, indent=2) + "\n"
    )
    (options.output / "annotation.md").write_text(markdown(rows, facts))
    print(markdown(rows, facts))


if __name__ == "__main__":
    main()
