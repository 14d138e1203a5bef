"""Ingest: our server and command beside tensorstore (and cloud-volume) writing the same array.

A stack of synthetic electron microscopy, as a folder of PNG slices of which every 64th is the same
file, is ingested by ``ndlambda ingest`` into ``ndlambda serve`` on disk: two processes, HTTP,
digests, a ledger, completeness. tensorstore writes the same voxels from memory to a sharded Zarr in
one process: a bound of what is possible, not a peer. cloud-volume takes part where somebody has
installed it. MB/s of voxels, CPU seconds of all processes, resident memory of each (getrusage). Run
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
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tensorstore
from numpy.typing import NDArray
from PIL import Image

from ndlambda.local.synthetic import em_stack

EDGE = 2048
TILE = 512
PERIOD = 64
MOST_RESIDENT_MB = 1500
COMMAND = str(Path(sys.executable).with_name("ndlambda"))
MB = 1_000_000


def write_stack(folder: Path, depth: int) -> NDArray[np.uint8]:
    """Write a folder of slices and give the voxels of its first period."""
    planes = np.tile(em_stack((PERIOD, TILE, TILE), seed=1), (1, EDGE // TILE, EDGE // TILE))
    folder.mkdir()
    for z in range(depth):
        path = folder / f"{z:06d}.png"
        if z < PERIOD:
            Image.fromarray(planes[z]).save(path, compress_level=1)
        else:
            os.link(folder / f"{z % PERIOD:06d}.png", path)
    return planes


@contextmanager
def server(data: Path, usage: dict[str, float]) -> Iterator[str]:
    """Run a server and note its CPU seconds and resident megabytes when it has ended."""
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
    """Wait for a process and give what it took."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu_s = used.ru_utime + used.ru_stime
    return {"cpu_s": round(cpu_s, 1), "resident_mb": round(used.ru_maxrss * 1024 / MB)}


def measure_ndlambda(folder: Path, work: Path, voxels: int) -> dict[str, Any]:
    """Ingest the folder by server and command."""
    of_server: dict[str, float] = {}
    with server(work / "nd", of_server) as url:
        arguments = [
            *(COMMAND, "--url", url, "--data", str(work / "nd"), "ingest", str(folder)),
            *("--token", "bench", "--channel", "em", "--create"),
        ]
        begun = time.perf_counter()
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        of_command = ended(process)
        seconds = time.perf_counter() - begun
        if process.returncode:
            raise SystemExit(f"the ingest failed; see {work / 'server.log'}")
        begun = time.perf_counter()
        listing = [*arguments[:5], "ingest", "list", "--json"]
        listed = json.loads(subprocess.run(listing, check=True, capture_output=True).stdout)
        check = [*arguments[:5], "ingest", "verify", listed[0]["id"]]
        subprocess.run(check, check=True, stdout=subprocess.DEVNULL)
        verify_s = time.perf_counter() - begun
    return {
        "mb_per_s": round(voxels / seconds / MB, 1),
        "verify_mb_per_s": round(voxels / verify_s / MB, 1),
        "cpu_s": round(of_server["cpu_s"] + of_command["cpu_s"], 1),
        "server_resident_mb": of_server["resident_mb"],
        "command_resident_mb": of_command["resident_mb"],
    }


def slabs(planes: NDArray[np.uint8], depth: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Iterate over first slice and voxels (z, y, x) of the stack."""
    for z in range(0, depth, PERIOD):
        yield z, planes[: min(PERIOD, depth - z)]


def measure_tensorstore(planes: NDArray[np.uint8], work: Path, depth: int) -> dict[str, Any]:
    """Write the stack slab by slab into a sharded Zarr of the shape of our objects."""
    blosc = {"name": "blosc", "configuration": {"cname": "zstd", "clevel": 3, "typesize": 1}}
    inner = {"chunk_shape": [16, 128, 128], "codecs": [{"name": "bytes"}, blosc]}
    codecs = [{"name": "sharding_indexed", "configuration": inner}]
    array = tensorstore.open(
        {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(work / "ts")}},
        create=True,
        dtype=tensorstore.uint8,
        shape=[depth, EDGE, EDGE],
        chunk_layout=tensorstore.ChunkLayout(write_chunk_shape=[32, 256, 256]),
        codec=tensorstore.CodecSpec({"driver": "zarr3", "codecs": codecs}),
    ).result()

    def write() -> None:
        for z, voxels in slabs(planes, depth):
            array[z : z + len(voxels)].write(voxels).result()

    return timed(write, planes[0].size * depth)


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
    """Give MB/s and CPU seconds of a call in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    write()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"mb_per_s": round(voxels / wall / MB, 1), "cpu_s": round(cpu, 1)}


def main() -> None:
    """Measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigavoxels", type=float, default=2.0)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    depth = max(1, round(given.gigavoxels * 2**30 / EDGE**2))
    voxels = depth * EDGE**2
    found: dict[str, Any] = {}
    with TemporaryDirectory(prefix="ndlambda-bench-") as name:
        work = Path(name)
        planes = write_stack(work / "slices", depth)
        found["ndlambda"] = measure_ndlambda(work / "slices", work, voxels)
        found["tensorstore"] = measure_tensorstore(planes, work, depth)
        if find_spec("cloudvolume") is None:
            print("cloud-volume is not installed and left out.")
        else:
            found["cloud-volume"] = measure_cloudvolume(planes, work, depth)
    for who, figures in found.items():
        print(f"{who:14}", *(f"{key} {value}" for key, value in figures.items()), sep="  ")
    report = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "gigavoxels": given.gigavoxels,
        "shape_zyx": [depth, EDGE, EDGE],
        "own_resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB),
        "results": found,
    }
    given.results.mkdir(exist_ok=True)
    (given.results / "ingest.json").write_text(json.dumps(report, indent=2) + "\n")
    ours = found["ndlambda"]
    largest = max(ours["server_resident_mb"], ours["command_resident_mb"])
    if largest > MOST_RESIDENT_MB:
        raise SystemExit(f"{largest} MB resident; {MOST_RESIDENT_MB} are allowed")


if __name__ == "__main__":
    main()
