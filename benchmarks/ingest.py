"""Ingest: ndlambda's two ways compared with tensorstore and cloud-volume writing the same array.

A stack of synthetic electron microscopy, as a folder of PNG slices in which every 64th is the same
file, is ingested by ``ndlambda ingest`` (two processes, HTTP) and by being dropped into the folder
of ``ndlambda serve`` (one process), with digests, a ledger, and every object on disk when it is
counted. The peer is a script that reads the same PNG files with Pillow and writes a sharded Zarr
with tensorstore. tensorstore and cloud-volume also write the voxels from memory, as an upper bound
without files, checks and a server. cloud-volume takes part if it is installed (the results say
how). MB/s of voxels, CPU seconds of all processes, resident memory of each (getrusage). Run
``python -m benchmarks.ingest [--gigavoxels 2]``; results go to ``benchmarks/results/``.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorstore
from numpy.typing import NDArray
from PIL import Image

from benchmarks.timing import stopwatch
from ndlambda.client import connect
from ndlambda.client.ingest import UNDER_WAY
from ndlambda.local.synthetic import em_stack

EDGE = 2048
TILE = 512
PERIOD = 64
POLL_S = 0.2
STEP = 3
MAX_RESIDENT_MB = 1500
COMMAND = str(Path(sys.executable).with_name("ndlambda"))
MB = 1_000_000


def write_stack(folder: Path, depth: int) -> None:
    """Write a folder of slices, and next to it the voxels of its first period.

    Run this in a process of its own: the peak memory of a process is also counted for the processes
    that it starts.
    """
    tiles, across = em_stack((PERIOD, TILE, TILE), seed=1), EDGE // TILE
    # Different slices side by side, because repeated tiles would be trivial for a PNG decoder.
    moved = [np.roll(tiles, -STEP * tile, axis=0) for tile in range(across**2)]
    planes = np.block([moved[row * across : (row + 1) * across] for row in range(across)])
    folder.mkdir()
    for z in range(depth):
        path = folder / f"{z:06d}.png"
        if z < PERIOD:
            Image.fromarray(planes[z]).save(path, compress_level=1)
        else:
            os.link(folder / f"{z % PERIOD:06d}.png", path)
    np.save(folder.with_suffix(".npy"), planes)


@contextmanager
def server(data: Path, usage: dict[str, float]) -> Iterator[str]:
    """Run a server, and record its CPU seconds and resident megabytes when it has ended."""
    arguments = [COMMAND, "serve", "--data", str(data), "--port", "0"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NDLAMBDA_")}
    with (data.parent / "server.log").open("wb") as log:
        process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
        assert process.stdout is not None
        try:
            yield next(process.stdout).rpartition(" on ")[2].strip()
        finally:
            process.terminate()
            usage |= ended(process)
            process.stdout.close()


def ended(process: "subprocess.Popen[Any]") -> dict[str, float]:
    """Wait for a process and return its resource usage."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu_s = used.ru_utime + used.ru_stime
    return {"cpu_s": round(cpu_s, 1), "resident_mb": round(used.ru_maxrss * 1024 / MB)}


def measure_command(folder: Path, work: Path, voxels: int) -> dict[str, Any]:
    """Ingest the folder by the server and the command."""
    server_usage: dict[str, float] = {}
    with server(work / "nd", server_usage) as url:
        arguments = [
            *(COMMAND, "--url", url, "--data", str(work / "nd"), "ingest", str(folder)),
            *("bench/em", "--create", "--scaling", "zslices"),
        ]
        started = time.perf_counter()
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        command_usage = ended(process)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise SystemExit(f"the ingest failed; see {work / 'server.log'}")
    with server(work / "nd", {}) as url:
        arguments[2] = url
        started = time.perf_counter()
        listing = [*arguments[:5], "ingest", "list", "--json"]
        listed = json.loads(subprocess.run(listing, check=True, capture_output=True).stdout)
        check = [*arguments[:5], "ingest", "verify", listed[0]["id"]]
        subprocess.run(check, check=True, stdout=subprocess.DEVNULL)
        verify_s = time.perf_counter() - started
    return {
        "mb_per_s": round(voxels / seconds / MB, 1),
        "verify_mb_per_s": round(voxels / verify_s / MB, 1),
        "cpu_s": round(server_usage["cpu_s"] + command_usage["cpu_s"], 1),
        "server_resident_mb": server_usage["resident_mb"],
        "command_resident_mb": command_usage["resident_mb"],
    }


def measure_drop(folder: Path, work: Path, voxels: int) -> dict[str, Any]:
    """Let the server ingest slices that are dropped into its folder."""
    server_usage: dict[str, float] = {}
    data = work / "dropped"
    with server(data, server_usage) as url:
        started = time.perf_counter()
        into = data / "drop" / "bench" / "em"
        into.mkdir(parents=True)
        for file in folder.iterdir():
            os.link(file, into / file.name)
        (into / "_DONE").touch()
        client = connect(url, (data / "admin.key").read_text().strip())
        while not (jobs := client.ingest.list()) or jobs[0]["state"] in UNDER_WAY:
            time.sleep(POLL_S)
        seconds = time.perf_counter() - started
        if jobs[0]["state"] != "COMPLETE":
            raise SystemExit(f"the drop ended as {jobs[0]['state']}")
    return {
        "mb_per_s": round(voxels / seconds / MB, 1),
        "cpu_s": server_usage["cpu_s"],
        "server_resident_mb": server_usage["resident_mb"],
    }


def slabs(planes: NDArray[np.uint8], depth: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Iterate over the stack by first slice and voxels (z, y, x)."""
    for z in range(0, depth, PERIOD):
        yield z, planes[: min(PERIOD, depth - z)]


def read_slabs(folder: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Iterate over the files by first slice and voxels (z, y, x), read in threads by Pillow."""
    files = sorted(folder.iterdir())
    with ThreadPoolExecutor() as pool:
        for z in range(0, len(files), PERIOD):
            some = files[z : z + PERIOD]
            yield z, np.stack(list(pool.map(lambda file: np.asarray(Image.open(file)), some)))


def measure_tensorstore(
    stack: Iterator[tuple[int, NDArray[np.uint8]]], place: Path, depth: int
) -> dict[str, Any]:
    """Write a stack slab by slab into a sharded Zarr with the shape of ndlambda's objects."""
    blosc = {"name": "blosc", "configuration": {"cname": "zstd", "clevel": 3, "typesize": 1}}
    inner = {"chunk_shape": [16, 128, 128], "codecs": [{"name": "bytes"}, blosc]}
    codecs = [{"name": "sharding_indexed", "configuration": inner}]
    array = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(place)}},
        create=True,
        dtype=tensorstore.uint8,
        shape=[depth, EDGE, EDGE],
        chunk_layout=tensorstore.ChunkLayout(write_chunk_shape=[32, 256, 256]),
        codec=tensorstore.CodecSpec({"driver": "zarr3", "codecs": codecs}),
    ).result()

    def write() -> None:
        for z, voxels in stack:
            array[z : z + len(voxels)].write(voxels).result()

    return timed(write, EDGE**2 * depth)


def measure_cloudvolume(planes: NDArray[np.uint8], work: Path, depth: int) -> dict[str, Any]:
    """Write the stack slab by slab into a precomputed volume."""
    cloudvolume = import_module("cloudvolume")
    place = f"precomputed://file://{work / 'cv'}"
    info = cloudvolume.CloudVolume.create_new_info(
        num_channels=1,
        layer_type="image",
        data_type="uint8",
        encoding="raw",
        resolution=[4, 4, 40],
        voxel_offset=[0, 0, 0],
        chunk_size=[256, 256, 32],
        volume_size=[EDGE, EDGE, depth],
    )
    volume = cloudvolume.CloudVolume(place, info=info, progress=False)
    volume.commit_info()

    def write() -> None:
        for z, voxels in slabs(planes, depth):
            volume[:, :, z : z + len(voxels)] = voxels.T

    return timed(write, planes[0].size * depth)


def timed(write: Any, voxels: int) -> dict[str, Any]:
    """Return MB/s and CPU seconds of a call in this process."""
    with stopwatch() as elapsed:
        write()
    return {
        "mb_per_s": round(voxels / elapsed.wall_s / MB, 1),
        "cpu_s": round(elapsed.cpu_s, 1),
    }


def main() -> None:
    """Measure, print, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigavoxels", type=float, default=2.0)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    depth = max(1, round(options.gigavoxels * 2**30 / EDGE**2))
    voxels = depth * EDGE**2
    found: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory(prefix="ndlambda-bench-") as name:
        work = Path(name)
        folder = work / "slices"
        writing = get_context("spawn").Process(target=write_stack, args=(folder, depth))
        writing.start()
        writing.join()
        found["ndlambda ingest"] = measure_command(folder, work, voxels)
        found["ndlambda, dropped"] = measure_drop(folder, work, voxels)
        found["Pillow + tensorstore"] = measure_tensorstore(read_slabs(folder), work / "ts", depth)
        planes = np.load(folder.with_suffix(".npy"))
        of_memory = slabs(planes, depth)
        found["tensorstore, from memory"] = measure_tensorstore(of_memory, work / "tm", depth)
        if find_spec("cloudvolume") is None:
            print("cloud-volume is not installed and left out; see benchmarks/results/ingest.md.")
        else:
            found["cloud-volume, from memory"] = measure_cloudvolume(planes, work, depth)
    for who, figures in found.items():
        print(f"{who:26}", *(f"{key} {value}" for key, value in figures.items()), sep="  ")
    report = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "gigavoxels": options.gigavoxels,
        "shape_zyx": [depth, EDGE, EDGE],
        "own_resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB),
        "results": found,
    }
    options.results.mkdir(exist_ok=True)
    (options.results / "ingest.json").write_text(json.dumps(report, indent=2) + "\n")
    ours = (found["ndlambda ingest"], found["ndlambda, dropped"])
    largest = max(of[key] for of in ours for key in of if key.endswith("resident_mb"))
    if largest > MAX_RESIDENT_MB:
        raise SystemExit(f"{largest} MB resident; at most {MAX_RESIDENT_MB} are allowed")


if __name__ == "__main__":
    main()
