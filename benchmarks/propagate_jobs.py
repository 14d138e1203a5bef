"""Part 3 of ``benchmarks.propagate``: whole jobs on FIB-25, with queue, rows and index."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.timing import stopwatch
from ndlambda import runtime
from ndlambda.local.synthetic import em_stack
from ndlambda.model.catalog import Channel, Dataset, Project
from ndlambda.model.discipline import Discipline
from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.propagation import PropagateState
from ndlambda.services.labels.index import LabelIndex
from ndlambda.services.labels.painter import LabelPainter
from ndlambda.services.propagation.builder import Built, PyramidBuilder, PyramidNode
from ndlambda.services.propagation.marks import PropagationMarks
from ndlambda.services.propagation.service import PropagationService, PropagationStores
from ndlambda.services.volume.options import VolumeOptions
from ndlambda.services.volume.region import Region
from ndlambda.settings import Settings
from ndlambda.space.box import XYZ
from ndlambda.space.pyramid import Scaling
from ndlambda.voxels.downsample import Method

JOB_LEVELS = 4
FIB25 = Path(__file__).resolve().parents[2] / "shared" / "data" / "fib25"


class Counting:
    """Wraps a builder and adds up the counts of its builds."""

    def __init__(self, builder: PyramidBuilder) -> None:
        self._builder = builder
        self._lock = threading.Lock()
        self.read, self.written, self.voxels = 0, 0, Counter[int]()

    def build(
        self, dataset: Dataset, channel: Channel, root: PyramidNode, depth: int, method: Method
    ) -> Built:
        built = self._builder.build(dataset, channel, root, depth, method)
        with self._lock:
            self.read += built.objects_read
            self.written += built.objects_written
            self.voxels[root.resolution - depth] += built.voxels_read
        return built


def real_volumes(fib25: Path) -> tuple[str, NDArray[np.uint8], NDArray[np.uint32]]:
    """Return a name, and an image and labels (z, y, x)."""
    slices = sorted((fib25 / "grayscale").glob("*.png"))
    if not slices:
        image = em_stack((250, 250, 250))
        return "synthetic voxels", image, (image // 32).astype("<u4")
    with np.load(fib25 / "groundtruth_labels.npz") as file:
        labels = file["labels"]
    return "FIB-25", np.stack([np.asarray(Image.open(each)) for each in slices]), labels


def measure_jobs(fib25: Path, copies: XYZ, threads: int) -> dict[str, Any]:
    """Propagate an image and its labels by jobs."""
    name, image, labels = real_volumes(fib25)
    result: dict[str, Any] = {"volume": name, "copies": copies, "threads": threads}
    for what, voxels in (("image", image), ("labels", labels)):
        with TemporaryDirectory() as folder:
            result[what] = run_job(Path(folder), np.tile(voxels, copies[::-1]), threads)
        print(what, result[what], flush=True)
    return result


def run_job(folder: Path, voxels: NDArray[Any], threads: int) -> dict[str, Any]:
    """Write voxels and propagate them over four levels; return rates and counts."""
    settings = Settings(data=folder, fsync=False, threads=threads, max_cutout_voxels=1 << 32)
    built = runtime.build(settings)
    is_image = voxels.dtype == np.uint8
    depth, height, width = voxels.shape
    dataset = Dataset(
        "bench", (width, height, depth), scaling=Scaling.ISOTROPIC, scalinglevels=JOB_LEVELS
    )
    built.catalog.create_dataset(dataset)
    built.catalog.create_project(Project("bench", "bench", user_id=1))
    kind = ChannelType.IMAGE if is_image else ChannelType.ANNOTATION
    datatype = DataType.UINT8 if is_image else DataType.UINT32
    channel = built.catalog.create_channel(Channel("bench", "c", kind, datatype))
    whole = Region(dataset.pyramid.level(0), dataset.pyramid.level(0).box, (0, 1))
    if is_image:
        built.volume.write(channel, whole, voxels[None])
    else:
        built.annotation.labels.paint(channel, whole, voxels[None], Discipline.OVERWRITE)
    options = VolumeOptions()
    index = LabelIndex(built.resources.table)
    painter = LabelPainter(built.resources.objects, index, built.resources.executor, options)
    counting = Counting(PyramidBuilder(built.resources.objects, painter, options))
    propagation = PropagationService(
        PropagationStores(
            built.resources.table, built.resources.objects, built.resources.queues.propagate
        ),
        built.catalog,
        PropagationMarks(built.resources.table, built.resources.row_executor),
        counting,
    )

    def work() -> None:
        while built.catalog.get_channel("bench", "c").propagate == PropagateState.UNDER_PROPAGATION:
            messages = built.resources.queues.propagate.receive(1)
            if not messages:
                time.sleep(0.02)
            for message in messages:
                propagation.run(message.body, message.receive_count)
                built.resources.queues.propagate.ack([message.receipt])

    with ThreadPoolExecutor(threads) as workers, stopwatch() as elapsed:
        propagation.start(dataset, channel)
        for worker in [workers.submit(work) for _ in range(threads)]:
            worker.result()
    stored = sum(1 for _ in built.resources.objects.list(f"bench/c/{channel.uid}/"))
    sources = sum(1 for _ in built.resources.objects.list(f"bench/c/{channel.uid}/0/"))
    built.close()
    return {
        "voxels": voxels.size,
        "mvoxels_per_s": round(voxels.size / elapsed.wall_s / 1e6, 1),
        "cpu_s_per_gvoxel": round(elapsed.cpu_s / voxels.size * 1e9, 2),
        "voxels_read_per_stored": round(counting.voxels[0] / voxels.size, 3),
        "sources": sources,
        "made": stored - sources,
        "objects_read": counting.read,
        "objects_written": counting.written,
    }


def job_lines(jobs: dict[str, Any]) -> list[str]:
    """Return the lines of the results page about whole jobs."""
    x, y, z = jobs["copies"]
    return [
        (
            f"Whole jobs on disk, {JOB_LEVELS} levels in two bands: {jobs['volume']}, {x} x {y} x "
            f"{z} copies, {jobs['image']['voxels'] / 1e6:.0f} million voxels, "
            f"{jobs['threads']} workers; queue, rows and index are in it."
        ),
        "",
        (
            "| channel | million source voxels a second | CPU s for 10^9 source voxels | reads of "
            "each stored voxel by the first band | objects read, of those stored at level 0 "
            "| objects written, of those made |"
        ),
        "|---|---|---|---|---|---|",
        *(
            f"| {what} | {row['mvoxels_per_s']} | {row['cpu_s_per_gvoxel']} | "
            f"{row['voxels_read_per_stored']} | {row['objects_read']} of {row['sources']} | "
            f"{row['objects_written']} of {row['made']} |"
            for what, row in ((what, jobs[what]) for what in ("image", "labels"))
        ),
        "",
    ]
